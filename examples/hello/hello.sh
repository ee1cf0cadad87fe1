#!/bin/sh
# From nothing to a traced notification. Before: `make up`, in the checkout.
set -eu
PATH="$PWD/.venv/bin:$PATH"
PORT="${PORT:-8900}"

# In a terminal of its own you see what comes.
fl-notifications listen --port "$PORT" &
trap 'kill $!' EXIT
until fl-notifications ring "http://127.0.0.1:$PORT/"; do sleep 1; done

T=$(fl-notifications training create --participant "http://127.0.0.1:$PORT/")
fl-notifications training start "$T"
sleep "${PATIENCE:-3}" # a round that is over before it is told would be told no more
fl-notifications training next-round "$T"
sleep "${PATIENCE:-3}"
fl-notifications training finish "$T"
sleep "${PATIENCE:-3}"
fl-notifications trace "$T"
