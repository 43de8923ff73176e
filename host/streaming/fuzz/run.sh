#!/usr/bin/env bash
# Looks for inputs that make a parser panic, loop or hold too much memory: `make fuzz`.
#
#   run.sh [TARGET...]     each target (default: all) runs FUZZ_RUNS inputs (default 10 million) and FUZZ_SECONDS (default
#                          300), whichever takes longer
#   run.sh --keep TARGET   adds to corpus/ what reaches more code than what is there
#
# Needs a C++ compiler, for libFuzzer; stable Rust will do, as there is no unsafe code here that a sanitizer could watch.
# What is found is where the next run begins, in target/fuzz/corpus; what should stay goes to corpus/, which the tests replay.
# An input that fails is kept in target/fuzz/failures/TARGET, and this ends with 1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
PATH=$PATH:$HOME/.cargo/bin

runs=${FUZZ_RUNS:-10000000}
seconds=${FUZZ_SECONDS:-300}
work=$(realpath -m "${CARGO_TARGET_DIR:-../../../target}")/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')

if ! command -v "${CXX:-c++}" >/dev/null; then
	echo "unable to build libFuzzer: there is no C++ compiler; install g++" >&2
	exit 1
fi

# What libFuzzer follows: which code an input reaches, and what it is compared with there.
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
	RUSTFLAGS+=" -Cllvm-args=-sanitizer-coverage-$option"
done
export RUSTFLAGS
# A target is named, so that the flags don't reach what runs at build time.
CARGO_TARGET_DIR=$work cargo build --release --target "$host"

if [ "${1:-}" = --keep ]; then
	shift
	for target in "$@"; do
		"$work/$host/release/$target" -set_cover_merge=1 -use_counters=0 -max_len=400 "corpus/$target" "$work/corpus/$target"
	done
	exit
fi

targets=("$@")
[ $# != 0 ] || mapfile -t targets < <(basename -s .rs fuzz_targets/*.rs)
rows=()
failed=0
for target in "${targets[@]}"; do
	binary=$work/$host/release/$target
	mkdir -p "$work/corpus/$target" "$work/failures/$target" "corpus/$target"
	echo "==> $target"
	began=$SECONDS done=0 result=passed
	# What plays with a connection takes its time for each step.
	case $target in
		services | sessions | *_connection) longest=256 ;;
		*) longest=1024 ;;
	esac
	log=$work/$target.log
	fuzz() {
		"$binary" "$@" -timeout=20 -rss_limit_mb=512 -max_len=$longest -print_final_stats=1 \
			-artifact_prefix="$work/failures/$target/" "$work/corpus/$target" "corpus/$target" >"$log" 2>&1 || {
			tail -n 40 "$log"
			return 1
		}
		grep '^#[0-9]*[[:space:]]*DONE' "$log"
		done=$((done + $(sed -n 's/^stat::number_of_executed_units: *//p' "$log")))
	}
	fuzz -runs="$runs" || result=FAILED
	left=$((seconds - (SECONDS - began)))
	if [ "$result" = passed ] && [ "$left" -gt 0 ]; then
		fuzz -max_total_time="$left" || result=FAILED
	fi
	[ "$result" = passed ] || failed=1
	rows+=("$(printf '%-7s %-24s %12d inputs %6d s' "$result" "$target" "$done" "$((SECONDS - began))")")
done
printf '\n'
printf '%s\n' "${rows[@]}"
exit "$failed"
