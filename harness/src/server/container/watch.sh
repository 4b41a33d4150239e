# Runs the image's own entry point, and ends the server when nobody has been connected for a while: no
# process outside has to live for that. $1: grace in seconds; what follows are arguments for postgres.
grace=$1
shift
docker-entrypoint.sh postgres "$@" &
server=$!
idle=0
while kill -0 "$server" 2>/dev/null; do
  sleep 1
  clients=$(PGPASSWORD=$POSTGRES_PASSWORD psql -h /var/run/postgresql -U "$POSTGRES_USER" -d "$POSTGRES_DB" -At \
    -c "select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()" 2>/dev/null)
  # No answer while it starts: that is no idleness either, but a start that never ends must not last for ever.
  case $clients in
    0 | '') idle=$((idle + 1)) ;;
    *) idle=0 ;;
  esac
  if [ "$idle" -ge "$grace" ]; then
    kill -INT "$server"
    break
  fi
done
wait "$server"
