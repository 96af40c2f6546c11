# shellcheck shell=bash
# What scripts that run a Fairlead of their own have in common: `source scripts/server.sh NAME`, in the project's directory. It
# makes a temporary directory, $work, and takes it away at the end with all that start began, also after Ctrl-C.
export PATH=$PWD/bin:$PATH
work=$(mktemp -d "${TMPDIR:-/tmp}/fairlead-$1.XXXXXX")
export FAIRLEAD_READY_FILE=$work/ready.json
server=

# ending is what a script has to do before its server ends; it defines that anew.
ending() { :; }
finish() {
  local code=$?
  trap - EXIT
  trap '' INT TERM # what is left to do is short, and has to be done
  ending
  if [ -n "$server" ]; then
    fairlead down --purge --data "$work/data" > "$work/down.log" 2>&1 || { cat "$work/down.log"; code=1; }
    wait "$server" || true
  fi
  rm -rf "$work"
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# start FLAGS… starts the server and returns when it is ready.
start() {
  fairlead up --data "$work/data" --listen 127.0.0.1:0 --ready-file "$FAIRLEAD_READY_FILE" "$@" > "$work/up.out" 2> "$work/up.log" &
  server=$!
  until grep -q '^Fairlead is ready' "$work/up.out" 2> /dev/null; do
    kill -0 "$server" 2> /dev/null || { cat "$work/up.log" >&2; exit 1; }
    read -rt 0.05 <> <(:) || true
  done
}
