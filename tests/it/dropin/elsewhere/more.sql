insert into people (name) values ('zoë');
