#!/bin/sh
# The part of the official image's entry point that tests use: a superuser with a password and a database.
set -e
: "${POSTGRES_USER:=postgres}" "${POSTGRES_DB:=$POSTGRES_USER}"
[ "$1" = postgres ] || exec "$@"
bin=$(echo /usr/lib/postgresql/*/bin)
data=/var/lib/postgresql/data
if [ "$(id -u)" = 0 ]; then
  mkdir -p "$data" /var/run/postgresql
  chown postgres: "$data" /var/run/postgresql
  exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi
if [ ! -s "$data/PG_VERSION" ]; then
  password=$(mktemp)
  printf %s "$POSTGRES_PASSWORD" >"$password"
  "$bin/initdb" -D "$data" -U "$POSTGRES_USER" --pwfile="$password" --auth-local=trust --auth-host=scram-sha-256 \
    --encoding=UTF8 --locale=C.UTF-8 --no-sync --no-instructions
  rm "$password"
  echo "host all all all scram-sha-256" >>"$data/pg_hba.conf"
  if [ "$POSTGRES_DB" != postgres ]; then
    echo "create database \"$POSTGRES_DB\"" | "$bin/postgres" --single -D "$data" postgres >/dev/null
  fi
fi
shift
exec "$bin/postgres" -D "$data" -k /var/run/postgresql -c listen_addresses='*' "$@"
