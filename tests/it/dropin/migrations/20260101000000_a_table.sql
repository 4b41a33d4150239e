create table elsewhere (n int);
