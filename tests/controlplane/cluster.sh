#!/bin/sh
# A real Kubernetes control plane for tests and for trying things out: builds it once, then runs its verbs. See README.md.
#
#   cluster.sh build                 build, if that has not been done yet, and print the path of the binary
#   cluster.sh up [--dir D]          start a cluster, print a JSON document about it, return
#   cluster.sh down --dir D          take it down
#   cluster.sh run                   start one, print how to use it, take it down at ctrl-C
#   cluster.sh restart|stop|start --dir D COMPONENT
#   cluster.sh test                  this directory's own tests, with a cluster
#   cluster.sh version               print the version of Kubernetes that all of these are of
#
# Exit codes: 3 if Go is missing or too old, 64 for a wrong call, 1 for anything else that fails.
# Environment: CLUSTER_VERSION, a minor (1.37, 1.36) or a whole version (v1.36.3); OUTRIGGER_CACHE, where builds are kept.
set -eu

# Where ip and Go usually are, which not every shell has in its path; and no workspace of somebody who has one above this.
PATH=$PATH:/usr/sbin:/sbin:/usr/local/go/bin
export PATH GOWORK=off

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
default_version=v1.37.2

say() { echo "cluster.sh: $*" >&2; }

case ${CLUSTER_VERSION:-$default_version} in
1.37 | v1.37) version=v1.37.2 ;;
1.36 | v1.36) version=v1.36.3 ;;
v1.*.*) version=${CLUSTER_VERSION:-$default_version} ;;
1.*.*) version=v$CLUSTER_VERSION ;;
*)
	say "unknown CLUSTER_VERSION \"$CLUSTER_VERSION\": use 1.37, 1.36, or a whole version such as v1.36.3"
	exit 64
	;;
esac

sources() {
	cd "$here"
	find . -type f ! -name '*_test.go' \( -name '*.go' -o -name '*.yaml' -o -name 'go.*' -o -name gomod.sh \) | LC_ALL=C sort
}
hash=$(sources | (cd "$here" && xargs cat) | sha256sum | cut -c1-12)
cache=${OUTRIGGER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/outrigger}
binary=$cache/controlplane-$version-$hash/controlplane

need_go() {
	wanted=$(sed -n 's/^go \([0-9]*\.[0-9]*\).*/\1/p' "$here/go.mod")
	if ! command -v go >/dev/null; then
		say "building the control plane takes Go $wanted or newer, and there is none here."
		say "Install it from https://go.dev/dl/ or as your system's package \"golang\", put its bin directory into PATH, and try again."
		exit 3
	fi
	have=$(go env GOVERSION | sed 's/^go//')
	if [ "$(printf '%s\n%s\n' "$wanted" "$have" | sort -V | head -n 1)" != "$wanted" ] && [ "$(go env GOTOOLCHAIN)" = local ]; then
		say "building the control plane takes Go $wanted or newer, and this is $have. Install a newer one from https://go.dev/dl/."
		exit 3
	fi
}

# Runs under the lock.
build_locked() {
	[ ! -x "$binary" ] || return 0
	need_go
	say "building Kubernetes $version into $cache: about 5 minutes on two cores the first time, and never again until its sources change"
	mkdir -p "$(dirname "$binary")"
	from=$here
	if [ "$version" != "$default_version" ]; then
		# The same sources, with a go.mod of their own.
		from=$(dirname "$binary")/source
		rm -rf "$from"
		mkdir -p "$from/cluster"
		cp "$here"/*.go "$from"
		cp "$here"/cluster/* "$from/cluster"
		"$here/gomod.sh" "$version" "$from"
	fi
	minor=${version#v1.}
	minor=${minor%%.*}
	flags=
	for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
		flags="$flags -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=$minor -X $package.gitTreeState=clean"
	done
	(cd "$from" && CGO_ENABLED=0 go build -mod=readonly -buildvcs=false -ldflags "$flags" -o "$binary.next" .)
	mv "$binary.next" "$binary"
	[ "$from" = "$here" ] || rm -rf "$from"
	# Builds of older sources, once no cluster can be running on them any more.
	find "$cache" -maxdepth 1 -name 'controlplane-v*' -mtime +7 -exec rm -rf {} +
}

build() {
	if [ -x "$binary" ]; then
		touch "$(dirname "$binary")"
		return
	fi
	need_go
	mkdir -p "$cache"
	(
		# Closed before anything is started that outlives this.
		if ! flock -n 9; then
			say "another build is under way; waiting for it"
			flock 9
		fi
		build_locked 9>&-
	) 9>"$cache/controlplane.lock"
}

verb=${1:-}
case $verb in
build)
	build
	echo "$binary"
	exit # before a shell reads on in a file that may have changed meanwhile
	;;
up | run)
	build
	shift
	exec "$binary" "$verb" --rbac "$here/../../configs/rbac.yaml" "$@"
	;;
test)
	build
	need_go
	dir=$(mktemp -d)
	trap '"$binary" down --dir "$dir" && rm -rf "$dir"' EXIT
	trap 'exit 130' INT TERM
	"$binary" up --dir "$dir" --rbac "$here/../../configs/rbac.yaml" >/dev/null
	cd "$here"
	unformatted=$(gofmt -l .)
	[ -z "$unformatted" ] || { say "gofmt would change: $unformatted"; exit 1; }
	go vet ./cluster
	OUTRIGGER_CLUSTER=$dir OUTRIGGER_CONTROLPLANE=$binary go test -v -count=1 ./cluster
	exit
	;;
version)
	echo "$version"
	;;
down | restart | stop | start)
	# By the binary that the cluster runs on, whatever has been built or changed since.
	dir=
	previous=
	for argument in "$@"; do
		case $previous in --dir | -dir) dir=$argument ;; esac
		case $argument in --dir=* | -dir=*) dir=${argument#*=} ;; esac
		previous=$argument
	done
	if [ -x "$dir/bin/controlplane" ]; then
		exec "$dir/bin/controlplane" "$@"
	elif [ "$verb" = down ] && [ -n "$dir" ] && [ ! -e "$dir/supervisor.lock" ]; then
		exit 0
	fi
	build
	exec "$binary" "$@"
	;;
*)
	sed -n '2,/^$/s/^# \{0,1\}//p' "$0" | sed '/^set -eu/d' >&2
	exit 64
	;;
esac
