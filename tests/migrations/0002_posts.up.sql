create table posts (person int not null references people, words text not null);
