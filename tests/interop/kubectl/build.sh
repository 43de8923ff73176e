#!/bin/sh
# kubectl of one minor of Kubernetes, for the suite's interop tests: builds it once from its Go modules, and prints its path.
#
#   build.sh MINOR                   1.34, 1.35, 1.36 or 1.37
#
# Exit codes: 3 if Go is missing, 64 for a wrong call, 1 for anything else that fails. Environment: OUTRIGGER_CACHE, where
# builds are kept.
set -eu

PATH=$PATH:/usr/local/go/bin
export PATH GOWORK=off

say() { echo "kubectl/build.sh: $*" >&2; }

case ${1:-} in
1.34) version=34.4 ;;
1.35) version=35.4 ;;
1.36) version=36.3 ;;
1.37) version=37.2 ;;
*)
	say "want a minor, 1.34 to 1.37, not \"${1:-}\""
	exit 64
	;;
esac

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cache=${OUTRIGGER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/outrigger}
binary=$cache/kubectl-v1.$version/kubectl

# The modules' checksums are in Go's public log, which go get asks.
build() {
	directory=$(dirname "$binary")
	rm -rf "$directory.next"
	mkdir -p "$directory.next"
	cp "$here/main.go" "$directory.next"
	cd "$directory.next"
	go mod init outrigger.dev/tests/interop/kubectl
	go get "k8s.io/kubectl/pkg/cmd@v0.$version" "k8s.io/component-base/cli@v0.$version"
	flags=
	for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
		flags="$flags -X $package.gitVersion=v1.$version -X $package.gitMajor=1 -X $package.gitMinor=${version%%.*}"
	done
	CGO_ENABLED=0 go build -mod=mod -buildvcs=false -ldflags "$flags" -o kubectl .
	rm -rf "$directory"
	mv "$directory.next" "$directory"
}

if [ ! -x "$binary" ]; then
	if ! command -v go >/dev/null; then
		say "building kubectl takes Go, and there is none here; install it from https://go.dev/dl/"
		exit 3
	fi
	mkdir -p "$cache"
	(
		flock 9
		[ ! -x "$binary" ] || exit 0
		say "building kubectl v1.$version into $cache: about 3 minutes on two cores, once"
		build 9>&-
	) 9>"$cache/kubectl.lock" >&2
fi
echo "$binary"
