# Keeps one server alive for as long as any process holds the door, and cleans up behind it.
#
# Two shells: the guard (this one, parent of the server) and the reader (blocks on the door). Either may be
# killed; the guard replaces a reader, and a reader outlives its guard. In the base directory lie: `door`, the
# FIFO that participants hold open for writing; `open`, there for as long as newcomers may enter; `up`, once
# the server was started; `uncopied`, if it has no data to start from; `ended`, its exit status; `asked`, if somebody wants the data
# parked; `spoiled`, if it must not be used again; `given-up`, if it could not be removed.
#
# $1 base, $2 directory of the binaries, $3 grace in tenths of a second, $4 data directory to start from,
# $5 copy | whole | move, $6 where a cleanly stopped server's data goes if somebody asked for that: in a slot the prefix
# of the name that the base gets, else the name of the data directory itself, $7 its size limit in KiB,
# $8 slot | image | never; what follows are arguments for postgres.
umask 077
base=$1 bin=$2 grace=$3 source=$4 take=$5 park=$6 park_kib_max=$7 park_as=$8
shift 8
name=${base##*/}
# The kernel should rather end our server than somebody else's when memory is short.
echo 600 2>/dev/null >/proc/self/oom_score_adj
case $take in
  move) mkdir "$base" ;;
  *) mkdir "$base" "$base/data" || { rmdir "$base" 2>/dev/null; false; } ;;
esac && cd "$base" || exit 1
# Never `: >file`: where the file system takes no file more, a shell would end over that.
# Opened for reading and writing first: opening a FIFO for reading alone waits for a writer.
true >open && mkfifo door && exec 3<>door && exec 4<door && exec 3>&- || { cd / && rm -rf "$base"; exit 1; }

# The processes of this server: by the data directory in a command line, or by the cluster's name in a title.
members() {
  if [ -r /proc/self/cmdline ]; then
    for entry in /proc/[0-9]*; do
      line=
      read -r line <"$entry/cmdline"
      case $line in *"$base/data"* | "postgres: $name: "*) echo "${entry#/proc/}" ;; esac
    done 2>/dev/null
  else
    ps -axo pid=,args= | while read -r pid line; do
      case $line in *"$base/data"* | "postgres: $name: "*) echo "$pid" ;; esac
    done
  fi
}

# A shell of its own waits for the server's end: it must not look like a keeper, since it lives as long as the
# server does, keeper or none.
launch() {
  /bin/sh -c '"$@" >>log 2>&1; echo $? >ended' pgwaiter "$bin/postgres" \
    -D "$base/data" -c cluster_name="$name" "$@" </dev/null >/dev/null 2>&1 4<&- &
}

# Ends what is left of the server by force. SIGQUIT lets the postmaster give its shared memory segment back, at
# any point of its start too; SIGKILL is for one that does not react, and for what a dead one left. The segment
# is read while its file is there: after the postmaster's own end nobody knows it any more.
end_by_force() {
  postmaster= segment= tries=0
  while list=$(members) && [ -n "$list" ] && [ $tries -lt 400 ]; do
    tries=$((tries + 1))
    [ -f data/postmaster.pid ] && postmaster=$(sed -n 1p data/postmaster.pid) && segment=$(sed -n 7p data/postmaster.pid)
    signal=QUIT
    [ $tries -gt 200 ] && signal=KILL
    case " $(echo $list) " in *" ${postmaster:-$list} "*) ;; *) [ -n "$postmaster" ] && signal=KILL ;; esac
    kill -$signal $list
    # A process that somebody stopped would hear of nothing but SIGKILL.
    kill -CONT $list
    sleep 0.02
  done 2>/dev/null
  [ -f data/postmaster.pid ] && segment=$(sed -n 7p data/postmaster.pid)
  [ -n "$segment" ] && ipcrm -m "${segment##* }" 2>/dev/null
}

# Stops the server cleanly and parks its data for the next run. Fails where that cannot be.
park() {
  [ "$park_as" != never ] && [ -e asked ] && [ ! -e spoiled ] && [ -f data/postmaster.pid ] || return 1
  postmaster=$(sed -n 1p data/postmaster.pid)
  # That of a killed one may be anybody's number by now.
  case " $(echo $(members)) " in *" $postmaster "*) ;; *) return 1 ;; esac
  kill -INT "$postmaster" 2>/dev/null || return 1
  tries=0
  while [ -n "$(members)" ]; do
    tries=$((tries + 1))
    [ $tries -lt 500 ] || return 1
    sleep 0.02
  done
  # A postmaster that was killed leaves its file.
  [ ! -e data/postmaster.pid ] && [ ! -e spoiled ] || return 1
  [ "$(du -sk data | cut -f 1)" -le "$park_kib_max" ] || return 1
  cat /proc/sys/kernel/random/boot_id >boot 2>/dev/null || true >boot
  if [ "$park_as" = slot ]; then
    # A name of its own: two keepers that park at once do not meet. Only the last one's data stays. The others
    # lose their names first, since somebody may be about to take them.
    mv "$base" "$park${name##*-}" || return 1
    # Not before: without these a newcomer would not know that data are about to be parked here.
    rm -f door up asked ended .s.PGSQL.*
    for old in "$park"*; do
      [ "$old" = "$park${name##*-}" ] || { mv "$old" "${old%.gone}.gone"; rm -rf "${old%.gone}.gone"; }
    done
  else
    # By way of another name: across file systems a move is a copy, and what has its final name is complete.
    new=$park.${name##*-}.new
    mv "$base" "$new" && { [ -e "$park" ] || mv "$new/data" "$park"; }
    rm -rf "$new"
    [ ! -e "$base" ] || return 1
  fi 2>/dev/null
}

stop() {
  park && return
  end_by_force
  cd /
  tries=0
  until rm -rf "$base" 2>/dev/null && [ ! -e "$base" ]; do
    tries=$((tries + 1))
    # Somebody put a thing in it that we may not remove: the next newcomer may.
    [ $tries -lt 50 ] || { true >"$base/given-up"; return; }
    sleep 0.05
  done
}

# Copies what a server needs to start: all but the databases, unless it may have to recover them.
copy() (
  cd "$source" && set -- || exit 1
  for part in *; do [ "$part" = base ] && [ "$take" = copy ] || set -- "$@" "$part"; done
  cp -R "$@" "$base/data" || exit 1
  # What is told of these data from now on holds for no others: see `generation` in `base.rs`.
  echo "$name" >"$base/data/pgharness.generation"
)

# The databases, which nobody is told of before they are there, come while the server starts. It would have removed the
# files that are removed here.
copy_databases() (
  cp -R "$source/base" "$base/data" || exit 1
  set -- "$base"/data/base/*/pg_internal.init
  [ ! -e "$1" ] || exec rm -f "$@"
)

serve() {
  idle=0
  while :; do
    if read -r request <&4; then
      idle=0
      # A private server that crashed is started again on its data, to recover.
      [ "$request" = restart ] && { end_by_force; rm -f ended data/postmaster.pid; launch "$@"; }
      continue
    fi
    # End of file: nobody holds the door.
    [ -e open ] || break
    [ $idle -ge "$grace" ] && { [ -e up ] || ! kill -0 $$ 2>/dev/null; } && break
    idle=$((idle + 1))
    sleep 0.1
  done
  # First no longer open, only then a last look at the door: a newcomer looks at `open` after opening the
  # door, so either it sees that this server retires, or it is served here to its end.
  rm -f open
  while read -r request <&4; do :; done
  stop
}

# Where no process can be started, as with a full process table, both shells end over that, the reader first.
# The server must not go on without them: whoever comes next removes the rest.
trap '[ ! -e "$base/ended" ] && [ -e "$base/data/postmaster.pid" ] && read -r postmaster <"$base/data/postmaster.pid" && kill -INT "$postmaster"' EXIT
serve "$@" </dev/null >/dev/null 2>&1 &
reader=$!
copier=
case $take in
  move) mv "$source/data" data ;;
  whole) copy ;;
  copy) { copy_databases 4<&- & copier=$!; } && copy ;;
esac && { [ ! -e data/postmaster.pid ] || rm -f data/postmaster.pid; } && launch "$@" || true >uncopied || exit 1
[ -z "$copier" ] || wait "$copier" || true >uncopied || exit 1
true >up || exit 1
# Only now: somebody waits for the server.
[ "$take" = move ] && [ ! -e uncopied ] && rm -rf "$source"
while :; do
  wait $reader
  [ -d "$base" ] && [ ! -e "$base/given-up" ] || exit 0
  serve "$@" </dev/null >/dev/null 2>&1 &
  reader=$!
done
