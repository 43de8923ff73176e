#!/usr/bin/env bash
# Where the host spends its time and its memory while pods come and go: `make profile`.
#
#   tests/bench/profile.sh [ARGUMENT-OF-POD-CHURN...]   by default 10,000 pods on 100 nodes of a devcluster
#
# Of a release build that is there already: TARGET/profile/cpu.svg is a flame graph of the whole run, heap.svg one of what was
# allocated when that was most. Beside them are the folded stacks, for other tools. Needs perf (Debian: linux-perf), perl and
# binutils, and installs inferno, which draws, below TARGET/tools.
set -euo pipefail

# As the host: tells perf to watch this process, and becomes the host in it.
if [ -n "${PROFILED:-}" ]; then
	case ${1:-} in
	run)
		if [ "$PROFILED" = cpu ]; then
			perf record --quiet --freq 499 --call-graph dwarf,16384 --pid $$ --output "$REPORTS/perf.data" >"$REPORTS/perf.log" 2>&1 &
			echo $! >"$REPORTS/perf.pid"
		else
			export MALLOC_CONF="prof:true,lg_prof_interval:27,lg_prof_sample:12,prof_prefix:$REPORTS/heap"
		fi
		;;
	esac
	exec "$HOST" "$@"
fi

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
target=$(realpath "${TARGET:-target}")
for program in perf perl nm; do
	if ! command -v "$program" >/dev/null; then
		echo "unable to profile: there is no $program; install linux-perf, perl and binutils" >&2
		exit 1
	fi
done
inferno=$target/tools/bin
[ -x "$inferno/inferno-flamegraph" ] || cargo install --quiet --locked --root "$target/tools" inferno
# It comes with the allocator's sources, as a template whose one gap is its version.
template=$(find "${CARGO_HOME:-$HOME/.cargo}/registry/src" -path '*/tikv-jemalloc-sys-*/jemalloc/bin/jeprof.in' | sort -V | tail -n 1)

[ $# != 0 ] || set -- scale --nodes 100 --pods 10000 --rounds 1 --rest 2 --only host
export HOST=$target/release/outrigger REPORTS=$target/profile
rm -rf "$REPORTS"
mkdir -p "$REPORTS"
for PROFILED in cpu heap; do
	export PROFILED
	"$target/release/pod-churn" "$@" --host-binary "$(realpath tests/bench/profile.sh)" --plugin-dir "$target/release" --out "$REPORTS/$PROFILED.md" >"$REPORTS/$PROFILED.log" 2>&1 || {
		cat "$REPORTS/$PROFILED.log" >&2
		exit 1
	}
done
unset PROFILED

# perf ends with the host, a moment later.
timeout 60 tail --pid="$(<"$REPORTS/perf.pid")" --follow /dev/null
perf script --input "$REPORTS/perf.data" 2>/dev/null | "$inferno/inferno-collapse-perf" >"$REPORTS/cpu.folded"
"$inferno/inferno-flamegraph" --title "outrigger: CPU" "$REPORTS/cpu.folded" >"$REPORTS/cpu.svg"
# One is written whenever so much was allocated; the second line of each says how many bytes there were.
heap=$(awk 'FNR == 2 { print $3, FILENAME }' "$REPORTS"/heap.*.heap | sort -n | tail -n 1 | cut -d' ' -f2-)
sed 's/@jemalloc_version@/5/' "$template" >"$REPORTS/jeprof"
perl "$REPORTS/jeprof" --collapsed "$HOST" "$heap" 2>"$REPORTS/jeprof.log" >"$REPORTS/heap.folded"
"$inferno/inferno-flamegraph" --title "outrigger: heap" --countname bytes "$REPORTS/heap.folded" >"$REPORTS/heap.svg"
for report in cpu heap; do
	[ -s "$REPORTS/$report.folded" ] || {
		echo "unable to profile: $REPORTS/$report.folded is empty; see the logs beside it" >&2
		exit 1
	}
	echo "$REPORTS/$report.svg"
done
