#!/usr/bin/env bash
# Many nodes in one process, and their pods: pod-churn scale and nodes, in a release build that is there already.
#
#   tests/bench/scale.sh bench      10,000 pods on 100 nodes, how nodes come and go: about 15 minutes
#   tests/bench/scale.sh soak       as well 1,000 nodes, 100,000 pods, ten times up and down: an hour and a half
#
# ROUNDS is how often each is measured, once by default.
#
# On the real control plane kwok is measured in the same run; a devcluster does not read the protobuf that it writes. Both take
# Go. Reports stay in target/scale/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
PATH=$PATH:/usr/local/go/bin

target=${TARGET:-target}
reports=$target/scale
mkdir -p "$reports"
# Pods have come to rest by then, and what they no longer need has gone back to the system.
settle=10
rounds=${ROUNDS:-1}

# measure NAME ARGUMENT...
measure() {
	local name=$1
	shift
	echo "==> pod-churn $*" >&2
	"$target/release/pod-churn" "$@" --out "$reports/$name.md"
}

# both CLUSTER OPTION...
both() {
	local cluster=$1
	measure "$cluster-nodes" nodes --cluster "$@"
	measure "$cluster-100" scale --nodes 100 --pods 10000 --rounds "$rounds" --settle "$settle" --cluster "$@"
	[ "$mode" = soak ] || return 0
	measure "$cluster-1000" scale --nodes 1000 --pods 10000 --rounds "$rounds" --settle "$settle" --cluster "$@"
	measure "$cluster-own-watches" scale --nodes 100 --pods 2000 --rounds "$rounds" --only host --only host-with-own-watches --cluster "$cluster"
}

mode=${1:-bench}
both dev
code=0
kwok=$(tests/bench/kwok.sh) || code=$?
case $code in
0) both real --kwok "$kwok" ;;
3) echo "SKIPPED many nodes on the real control plane, and kwok: there is no Go; install Go 1.26 or newer from https://go.dev/dl/" >&2 ;;
*) exit "$code" ;;
esac
if [ "$mode" = soak ]; then
	measure dev-100000 scale --nodes 1000 --pods 100000 --rounds "$rounds" --settle "$settle"
	measure dev-cycles scale --nodes 100 --pods 10000 --rounds "$rounds" --cycles 10 --settle "$settle" --only host
fi
