#!/bin/sh
# The figures of models/README.md: the bundled models on rendered people and, where PLACARD_TEST_DATA has photographs, on those, found by
# the bundled detector and by YuNet. Arguments go to `placard model eval` (--json, --identities N).
# Unless they give a --score, the bundled detector's is .85, at which it is meant to be run.
set -eu
case " $* " in *" --score"*) score= ;; *) score="--score 0.85" ;; esac
placard=${PLACARD:-target/release/placard}
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT

evaluate() {
    "$placard" --state "$state" model eval --embedder concourse-embedder --mask concourse-mask "$@"
}

photographs=${PLACARD_TEST_DATA:-}/images/identities
if [ ! -d "$photographs" ]; then
    echo "No photographs: PLACARD_TEST_DATA names none. Rendered people only." >&2
    evaluate --detector concourse-detector $score "$@"
    exit
fi
evaluate --detector concourse-detector $score --photographs "$photographs" "$@"
"$placard" --state "$state" model add "$PLACARD_TEST_DATA/models/yunet_n_dynamic.onnx" >/dev/null
evaluate --detector yunet-n-dynamic --photographs "$photographs" --only-photographs "$@"
