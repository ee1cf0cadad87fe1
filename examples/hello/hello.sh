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
fl-notifications training next-round "$T"
fl-notifications training finish "$T"
sleep "${PATIENCE:-3}" # it takes well under a second, and somewhat more after `make up`
fl-notifications trace "$T"
