#!/bin/sh
# From nothing to a traced notification. Before: `make up`, in the checkout.
set -eu
PATH="$PWD/.venv/bin:$PATH"
PORT="${PORT:-8900}"

# In a terminal of its own you see what comes; here it is shown at the end.
HEARD=$(mktemp)
fl-notifications listen --port "$PORT" > "$HEARD" &
trap 'kill $!; cat "$HEARD"; rm "$HEARD"' EXIT
until fl-notifications ring "http://127.0.0.1:$PORT/"; do sleep 1; done
# A round that is over before it is told would be told no more.
told() { until grep -q "  $1  ✓ verified" "$HEARD"; do sleep 0.2; done; }

T=$(fl-notifications training create --participant "http://127.0.0.1:$PORT/")
fl-notifications training start "$T"
told "UPDATE_ROUND_START 0"
fl-notifications training next-round "$T"
told "UPDATE_ROUND_START 1"
fl-notifications training finish "$T"
told TRAINING_FINISHED
sleep "${PATIENCE:-1}" # its outcome is written after its answer
fl-notifications trace "$T"
