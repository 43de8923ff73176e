#!/usr/bin/env bash
# Runs test suites one after the other and closes with a line for each.
#
#   tests/suites.sh hermetic         what needs nothing but a Rust toolchain; the control plane's Go sources where there is Go
#   tests/suites.sh cluster          what needs the real control plane, which is built on its first use
#   tests/suites.sh soak             the long versions, the previous minor of Kubernetes, the benches: more than three hours
#
# A suite that can't run here says why and counts as skipped; tests that can't are counted and named. The exit code is 0
# when nothing failed, 1 when something did, 64 for a wrong call. What is printed is kept in target/suites/ too; with
# OUTRIGGER_SUITES_TSV the closing lines go to that file: name, result, passed, failed, skipped, seconds; and what there is to
# say of single tests to the one beside it, with .notes at its end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# As in tests/controlplane/cluster.sh: where Go usually is, which not every shell has in its path.
PATH=$PATH:/usr/local/go/bin

target=${CARGO_TARGET_DIR:-target}
logs=$target/suites
rows=() notes=()

say() { printf '\n==> %s\n' "$*"; }

# close NAME RESULT PASSED FAILED SKIPPED SECONDS
close() {
	local IFS=$'\t'
	rows+=("$*")
}

skip_suite() {
	printf '\nSKIPPED suite %s: %s\n' "$1" "$2" >&2
	notes+=("SKIPPED suite $1: $2")
	close "$1" SKIPPED 0 0 1 0
}

# run LOG COMMAND...: shows and keeps what it prints. Tests name in $LOG.skips what they leave out.
run() {
	local log=$1
	shift
	: >"$log.skips"
	OUTRIGGER_SKIPS=$(realpath "$log.skips") "$@" 2>&1 | tee "$log"
}

# judge NAME CODE PASSED FAILED SKIPPED SECONDS
judge() {
	local result=passed
	if [ "$2" != 0 ] || [ "$4" != 0 ]; then
		result=FAILED
	elif [ "$3" = 0 ]; then
		result=FAILED
		notes+=("$1: no test has run, which proves nothing")
	fi
	close "$1" "$result" "$3" "$4" "$5" "$6"
}

# A machine that is busy with something else can make a deadline pass. The few tests that fail are run once more, alone and
# one after the other; what passes then is counted as passed and named as FLAKY, what fails twice has failed.
# again LOG ARGUMENT-OF-CARGO-TEST...
again() {
	local log=$1 names name passed
	shift
	mapfile -t names < <(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log")
	if [ ${#names[@]} = 0 ] || [ ${#names[@]} -gt 5 ] || [[ "${names[*]}" == *" - "* ]]; then return 1; fi
	say "once more, alone: ${names[*]}"
	OUTRIGGER_SUITE_PREBUILT=1 OUTRIGGER_SKIPS=$(realpath "$log.skips") \
		cargo test --workspace --no-fail-fast "$@" -- --test-threads=1 --exact "${names[@]}" >"$log.again" 2>&1 ||
		{ cat "$log.again" && return 1; }
	# Counted by the closing lines: what a test's processes print can stand between a name and its result.
	passed=$(awk '/^test result: ok/ { passed += $4 } END { print passed + 0 }' "$log.again")
	[ "$passed" = ${#names[@]} ] || return 1
	for name in "${names[@]}"; do notes+=("FLAKY $name: failed among the others, passed alone; at first $(panic_of "$log" "$name")"); done
	awk '/^test result: FAILED/ { $3 = "ok."; $4 += $6; $6 = 0 } { print }' "$log" >"$log.judged"
	mv "$log.judged" "$log"
}

# panic_of LOG TEST: where it failed, and with which words.
panic_of() {
	awk -v begin="thread '$2' " '
		found { print why ": " $0; exit }
		index($0, begin) == 1 { found = 1; why = $0; sub(/^.* panicked at /, "", why); sub(/:$/, "", why) }' "$1"
}

# The tests of the whole workspace from one command, so that all is built once, with one choice of features. Its output is
# taken apart by test program: the suite and the demo have lines of their own.
# workspace SUFFIX-OF-NAMES ARGUMENT-OF-CARGO-TEST...
workspace() {
	local where=$1 log=$logs/workspace-${1//[^a-zA-Z0-9.]/-}.log code=0
	shift
	say "build: programs, plugins and tests of the workspace"
	cargo build --workspace --all-targets
	say "cargo test --workspace --no-fail-fast $*"
	OUTRIGGER_SUITE_PREBUILT=1 run "$log" cargo test --workspace --no-fail-fast "$@" || code=$?
	[ "$code" = 0 ] || ! again "$log" "$@" || code=0
	local skipped name counts failures=0
	skipped=$(wc -l <"$log.skips")
	while IFS= read -r note; do notes+=("$note"); done <"$log.skips"
	while IFS=$'\t' read -r name counts; do
		read -r passed failed ignored seconds <<<"$counts"
		[[ $name != suite:* ]] || { ignored=$((ignored + skipped)) name="$name on $where"; }
		failures=$((failures + failed))
		judge "$name" 0 "$passed" "$failed" "$ignored" "$seconds"
	done < <(awk '
		# A program that ended without a result has failed.
		function settle() { if (open) failed[name]++; open = 0 }
		/^ +(Running|Doc-tests) / {
			settle()
			if ($1 == "Doc-tests") name = "documentation: examples"
			else if ($0 ~ /deps\/suite-/) name = "suite: the host"
			else if ($0 ~ /tests\/demo\.rs/) name = "demo: from start to ctrl-C"
			else name = "crates: units and integration"
			if (!(name in passed)) order[++count] = name
			passed[name] += 0
			open = 1
		}
		/^test result: / {
			open = 0
			passed[name] += $4; failed[name] += $6; ignored[name] += $8
			time = $NF; sub(/s$/, "", time); seconds[name] += time
		}
		END {
			settle()
			for (i = 1; i <= count; i++) {
				name = order[i]
				printf "%s\t%d %d %d %d\n", name, passed[name], failed[name], ignored[name], seconds[name]
			}
		}' "$log")
	# What failed before any test could: the build.
	[ "$code" = 0 ] || [ "$failures" != 0 ] || judge "cargo test on $where" "$code" 0 1 0 0
}

# single NAME COMMAND...: a suite that is one command.
single() {
	local name=$1 log=$logs/${1//[^a-zA-Z0-9.]/-}.log start=$SECONDS code=0
	shift
	say "$name: $*"
	run "$log" "$@" || code=$?
	judge "$name" "$code" "$((code == 0))" "$((code != 0))" 0 $((SECONDS - start))
}

# go_tests NAME COMMAND...: a command that runs tests of Go with -v, which count one by one. Without a line of any test
# nothing has passed, whatever the command says.
go_tests() {
	local name=$1 log=$logs/${1//[^a-zA-Z0-9.]/-}.log start=$SECONDS code=0 counts
	shift
	say "$name: $*"
	run "$log" "$@" || code=$?
	counts=$(awk '/^--- PASS/{p++} /^--- FAIL/{f++} /^--- SKIP/{s++} END {print p + 0, f + 0, s + 0}' "$log")
	while IFS= read -r note; do notes+=("$note"); done < <(awk '
		/ SKIPPED: / { why = $0; sub(/^.* SKIPPED: /, "", why) }
		/^--- SKIP: / { printf "SKIPPED %s: %s\n", $3, why; why = "" }' "$log")
	# shellcheck disable=SC2086 # three numbers
	judge "$name" "$code" $counts $((SECONDS - start))
}

hermetic() {
	workspace devcluster
	local name="control plane: sources"
	if command -v go >/dev/null; then
		go_tests "$name" env -C tests/controlplane GOWORK=off sh -c 'go vet ./cluster && go test -v -count=1 ./cluster'
		single "oracle: sources in Go" env -C tests/oracle/node GOWORK=off sh -c 'test -z "$(gofmt -l .. | tee /dev/stderr)" && go vet .'
		single "interop: sources in Go" env -C tests/interop/client-go GOWORK=off sh -c 'test -z "$(gofmt -l .. | tee /dev/stderr)" && go vet .'
	else
		for name in "$name" "oracle: sources in Go" "interop: sources in Go"; do
			skip_suite "$name" "there is no Go; install Go 1.26 or newer from https://go.dev/dl/"
		done
	fi
}

# Builds the control plane, or closes the named suite with the reason why it can't run.
control_plane() {
	local code=0
	say "build: the control plane, Kubernetes ${CLUSTER_VERSION:-as pinned}"
	tests/controlplane/cluster.sh build || code=$?
	case $code in
	0) return 0 ;;
	3) skip_suite "$1" "the real control plane is built with Go, which is missing or too old" ;;
	*) judge "$1" "$code" 0 1 0 0 ;;
	esac
	return 1
}

# The suite on the real control plane of CLUSTER_VERSION. Most of its tests wait most of the time, so more of them run at
# once than there are cores.
real() {
	local version=${CLUSTER_VERSION:-}
	local where="the real control plane${version:+ $version}"
	if control_plane "suite: the host on $where"; then
		OUTRIGGER_TEST_CLUSTER=real OUTRIGGER_SUITE_OTHER_PROFILE=1 RUST_TEST_THREADS=6 workspace "$where" --test suite
	fi
}

cluster() {
	real
	local name="control plane: live"
	if control_plane "$name"; then
		go_tests "$name" tests/controlplane/cluster.sh test
	fi
}

# churn_with_faults NAME FAULTS: one every ten seconds, after five minutes without, for comparison.
churn_with_faults() {
	local name="suite: $1"
	if control_plane "$name"; then
		single "$name" env OUTRIGGER_TEST_CLUSTER=real OUTRIGGER_SUITE_PREBUILT=1 \
			OUTRIGGER_SUITE_TROUBLES="$2" OUTRIGGER_SUITE_CALM_ROUNDS=30 OUTRIGGER_SUITE_READY_SECONDS=5 \
			bash -euo pipefail -c 'cargo test --workspace --test suite -- --nocapture --exact \
				trouble::trouble_on_the_way_and_crashes_behind_it_lose_nothing | tee /dev/stderr | grep -q "^test result: ok. 1 passed"'
	fi
}

soak() {
	export OUTRIGGER_SUITE_KILLS=50 OUTRIGGER_SUITE_KILL_PODS=1000 OUTRIGGER_SUITE_REPLICAS=200
	export OUTRIGGER_SUITE_STORM_SECONDS=300 OUTRIGGER_SUITE_OUTAGE_SECONDS=600
	export OUTRIGGER_SUITE_SHARING_PODS=10000 OUTRIGGER_SUITE_CONFIG_MAPS=5000 OUTRIGGER_SUITE_FOREIGN_PODS=20000
	export OUTRIGGER_SUITE_NODES=1000 OUTRIGGER_SUITE_NODES_SECONDS=120
	export OUTRIGGER_SUITE_KUBECTLS="installed 1.34 1.35 1.36 1.37" OUTRIGGER_SUITE_LOG_MIB=1024
	export OUTRIGGER_SUITE_AUDIT_PODS=1000
	export OUTRIGGER_SUITE_SKEW_RENEWALS=8
	workspace devcluster --test suite
	real
	CLUSTER_VERSION=1.36 real
	churn_with_faults "five minutes of faults, alone" 30
	churn_with_faults "an hour of churn with faults, alone" 360
	say "build: release"
	cargo build --release -p outrigger -p outrigger-mock -p outrigger-devcluster -p outrigger-bench
	single "bench: idle host for 10 minutes" "$target/release/pod-churn" idle --seconds 600
	single "bench: pod-churn on devcluster" "$target/release/pod-churn" --cluster dev
	local name="bench: streams, beside Kubernetes' own and a kubelet"
	if command -v go >/dev/null; then
		single "$name" "$target/release/pod-churn" streams --kubelet
	else
		skip_suite "$name" "there is no Go; install Go 1.26 or newer from https://go.dev/dl/"
	fi
	local kwok="" code=0
	if control_plane "bench: pod-churn on the real control plane"; then
		kwok=$(tests/bench/kwok.sh) || code=$?
		case $code in
		0) ;;
		3) skip_suite "bench: kwok beside it" "it is built with Go, which is missing or too old" ;;
		*) judge "bench: kwok, build" "$code" 0 1 0 0 ;;
		esac
		single "bench: pod-churn on the real control plane" "$target/release/pod-churn" --cluster real ${kwok:+--kwok "$kwok"}
		single "bench: the same without tokens" "$target/release/pod-churn" --cluster real ${kwok:+--kwok "$kwok"} --without-tokens
	fi
	TARGET=$target single "bench: many nodes, beside kwok where there is Go" tests/bench/scale.sh soak
}

closing() {
	say "summary"
	local row name result passed failed skipped seconds code=0
	for row in "${rows[@]}"; do
		IFS=$'\t' read -r name result passed failed skipped seconds <<<"$row"
		printf '%-7s  %-48s %5d passed %3d failed %3d skipped %6d s\n' "$result" "$name" "$passed" "$failed" "$skipped" "$seconds"
		[ "$result" != FAILED ] || code=1
		[ -z "${OUTRIGGER_SUITES_TSV:-}" ] || printf '%s\n' "$row" >>"$OUTRIGGER_SUITES_TSV"
	done
	if [ ${#notes[@]} != 0 ]; then
		printf '%s\n' "${notes[@]}"
		[ -z "${OUTRIGGER_SUITES_TSV:-}" ] || printf '%s\n' "${notes[@]}" >>"$OUTRIGGER_SUITES_TSV.notes"
	fi
	return "$code"
}

case ${1:-} in
hermetic | cluster | soak) verb=$1 ;;
*)
	sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2
	exit 64
	;;
esac
mkdir -p "$logs"
"$verb"
closing
