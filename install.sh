#!/bin/sh
# Installs weave from a release folder: the one that this script lies in, or one at a URL.
#
#   sh install.sh                         to /usr/local, as root
#   PREFIX=$HOME/.local sh install.sh     elsewhere
#   DESTDIR=pkg sh install.sh             into a folder that is to be packed (paths inside stay those of PREFIX)
#   sh install.sh --from https://example.org/weave-0.1.0-x86_64
#   sh install.sh --dry-run               say what would be done
#   sh install.sh --uninstall             remove what was installed, and nothing else
#
# --from URL     a release folder by https:// or file:// (needs curl or wget for the former)
# --sum SHA256   what SHA256SUMS of that folder must have; without it, whoever can change the folder can change weave
#
# Every file is compared with SHA256SUMS before anything is touched, and nothing is put in place before all is there.
set -eu

usage() {
    sed -n '2,13s/^# \{0,1\}//p' "$0"
}

die() {
    echo "install.sh: $*" >&2
    exit 1
}

prefix=${PREFIX:-/usr/local}
dest=${DESTDIR:-}
from=
sum=
dry=
remove=
while [ $# -gt 0 ]; do
    case $1 in
        --from | --sum)
            [ $# -ge 2 ] || { echo "install.sh: $1 needs a value" >&2; exit 2; }
            if [ "$1" = --from ]; then from=$2; else sum=$2; fi
            shift
            ;;
        --dry-run) dry=yes ;;
        --uninstall) remove=yes ;;
        -h | --help)
            usage
            exit 0
            ;;
        *)
            echo "install.sh: unknown argument '$1'; --help lists what there is" >&2
            exit 2
            ;;
    esac
    shift
done

# What is written into units and lists must mean the same from everywhere.
case $prefix in
    /*) ;;
    *) die "PREFIX is $prefix, which is not an absolute path" ;;
esac
case $prefix$dest in
    *[!A-Za-z0-9._/+@:~-]*) die "PREFIX and DESTDIR may hold letters, digits and ._/+@:~- only" ;;
esac
prefix=${prefix%/}
dest=${dest%/}
list=$prefix/share/weave/installed

work=$(mktemp -d "${TMPDIR:-/tmp}/weave-install.XXXXXXXX") || die "cannot make a temporary folder"
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# The first folder of a path that is there, to see if it can be written to.
standing() {
    place=$1
    while [ ! -e "$place" ]; do
        case $place in
            */*) place=${place%/*} ;;
            *) place=. ;;
        esac
        [ -n "$place" ] || place=/
    done
    echo "$place"
}

may_write() {
    place=$(standing "$1")
    [ -w "$place" ] || die "cannot write to $place: run this as root, or choose another place: PREFIX=\$HOME/.local sh install.sh"
}

if [ -n "$remove" ]; then
    [ -f "$dest$list" ] || die "nothing is installed below $dest$prefix: there is no $dest$list"
    # A network in use is not taken apart by the way.
    if [ -z "$dest$dry" ] && [ -x "$prefix/bin/weave" ]; then
        code=0
        "$prefix/bin/weave" status >/dev/null 2>&1 || code=$?
        case $code in
            0 | 3) die "a router runs on this host: end it first: weave reset (or weave stop, to keep its containers' network)" ;;
        esac
    fi
    while IFS= read -r path; do
        case $path in
            *..* | *//*) die "$dest$list is damaged: it names $path" ;;
            "$prefix"/*) ;;
            *) die "$dest$list is damaged: it names $path" ;;
        esac
    done <"$dest$list"
    if [ -z "$dry" ]; then
        may_write "$dest$prefix/bin"
    fi
    while IFS= read -r path; do
        if [ -n "$dry" ]; then
            echo "would remove $dest$path"
        else
            rm -f "$dest$path"
        fi
    done <"$dest$list"
    if [ -z "$dry" ]; then
        rm -f "$dest$list"
        # Folders of others stay, with what is in them.
        rmdir "$dest$prefix/share/weave" "$dest$prefix/share/doc/weave" 2>/dev/null || true
        echo "weave is removed from $dest$prefix"
    fi
    exit 0
fi

# --- the release folder ---

sums() {
    if command -v sha256sum >/dev/null 2>&1; then
        sha256sum "$@"
    elif command -v shasum >/dev/null 2>&1; then
        shasum -a 256 "$@"
    else
        die "there is neither sha256sum nor shasum here, by which files are checked"
    fi
}

fetch() {
    case $from in
        file://*) cp "${from#file://}/$1" "$2" 2>"$work/why" ;;
        *)
            if command -v curl >/dev/null 2>&1; then
                curl --fail --silent --show-error --location --proto '=https' --output "$2" "$from/$1" 2>"$work/why"
            elif command -v wget >/dev/null 2>&1; then
                wget -q -O "$2" "$from/$1" 2>"$work/why"
            else
                die "there is neither curl nor wget here: fetch the folder by other means, and run the install.sh in it"
            fi
            ;;
    esac || die "cannot fetch $from/$1: $(tail -n 1 "$work/why")"
}

# Lines as sha256sum writes them, of files below the folder.
check_list() {
    [ -s "$1" ] || die "$2 is empty"
    if grep -qvE '^[0-9a-f]{64} [ *][A-Za-z0-9._][A-Za-z0-9._/-]*$' "$1" || grep -qF '..' "$1"; then
        die "$2 is no list of checksums"
    fi
    if [ -n "$sum" ]; then
        is=$(sums "$1")
        [ "${is%% *}" = "$sum" ] || die "$2 is not the one that was asked for by --sum: nothing is installed"
    fi
}

if [ -n "$from" ]; then
    case $from in
        file://* | https://*) ;;
        *) die "--from takes https:// and file://, not $from" ;;
    esac
    from=${from%/}
    source=$work/release
    mkdir "$source"
    fetch SHA256SUMS "$source/SHA256SUMS"
    check_list "$source/SHA256SUMS" "$from/SHA256SUMS"
    while read -r _ path; do
        path=${path#\*}
        case $path in
            */*) mkdir -p "$source/${path%/*}" ;;
        esac
        fetch "$path" "$source/$path"
    done <"$source/SHA256SUMS"
else
    source=$(cd "$(dirname "$0")" && pwd)
    [ -f "$source/SHA256SUMS" ] || die "there is no SHA256SUMS beside this script: run the one in a release folder (scripts/release makes one), or name one with --from"
    check_list "$source/SHA256SUMS" "$source/SHA256SUMS"
fi

if ! (cd "$source" && sums -c SHA256SUMS) >"$work/checked" 2>&1; then
    bad=$(sed -n 's/: FAILED.*//p' "$work/checked" | tr '\n' ' ')
    die "checksums differ (${bad:-a file is missing }in ${from:-$source}): it is damaged, nothing is installed"
fi
for path in bin/weave bin/weave-router install.sh ARCH; do
    grep -q " [ *]$path\$" "$source/SHA256SUMS" || die "${from:-$source} is no release folder: SHA256SUMS does not list $path"
done
arch=$(cat "$source/ARCH")
if [ -z "$dest" ] && [ "$(uname -m)" != "$arch" ]; then
    die "this release is for $arch, and this host is $(uname -m): take the one for it, or build weave here"
fi

# --- where each file goes ---

# Lines of: mode, file of the release, place.
plan() {
    while read -r _ path; do
        path=${path#\*}
        name=${path##*/}
        share=$prefix/share
        case $path in
            bin/*) echo "755 $path $prefix/bin/$name" ;;
            man/*) echo "644 $path $share/man/man1/$name" ;;
            completions/*.bash) echo "644 $path $share/bash-completion/completions/${name%.bash}" ;;
            completions/_*) echo "644 $path $share/zsh/site-functions/$name" ;;
            completions/*.fish) echo "644 $path $share/fish/vendor_completions.d/$name" ;;
            systemd/*) echo "644 $path $prefix/lib/systemd/system/$name" ;;
            install.sh) echo "755 $path $share/weave/install.sh" ;;
            LICENSE) echo "644 $path $share/doc/weave/LICENSE" ;;
        esac
    done <"$source/SHA256SUMS"
}
plan >"$work/plan"

if [ -n "$dry" ]; then
    while read -r mode path place; do
        echo "would install $path as $dest$place (mode $mode)"
    done <"$work/plan"
    exit 0
fi

while read -r mode path place; do
    may_write "$dest${place%/*}"
done <"$work/plan"

# Beside their places first; what does not arrive whole leaves all as it was.
undo() {
    while read -r mode path place; do
        rm -f "$dest$place.weave-new"
    done <"$work/plan"
    rm -f "$dest$list.weave-new"
}
put() {
    mkdir -p "$dest${place%/*}" || return 1
    case $path in
        # They name the program by its place.
        systemd/*) sed "s|/usr/local/bin/weave|$prefix/bin/weave|g" "$source/$path" >"$dest$place.weave-new" ;;
        *) cp "$source/$path" "$dest$place.weave-new" ;;
    esac || return 1
    chmod "$mode" "$dest$place.weave-new"
}
while read -r mode path place; do
    if ! put; then
        undo
        die "cannot write $dest$place: nothing is installed"
    fi
done <"$work/plan"
if ! sed 's/^[0-9]* [^ ]* //' "$work/plan" >"$dest$list.weave-new"; then
    undo
    die "cannot write $dest$list: nothing is installed"
fi

# What an earlier release had and this one has not.
if [ -f "$dest$list" ]; then
    while IFS= read -r old; do
        case $old in
            *..*) ;;
            "$prefix"/*) grep -qxF "$old" "$dest$list.weave-new" || rm -f "$dest$old" ;;
        esac
    done <"$dest$list"
fi
while read -r mode path place; do
    mv -f "$dest$place.weave-new" "$dest$place"
done <"$work/plan"
mv -f "$dest$list.weave-new" "$dest$list"

echo "installed in $dest$prefix: bin/weave, bin/weave-router, manual pages, completions, systemd units"
if [ -z "$dest" ]; then
    case :$PATH: in
        *:"$prefix/bin":*) ;;
        *) echo "$prefix/bin is not in your PATH" ;;
    esac
    if [ -d /run/systemd/system ] && [ "$(id -u)" = 0 ]; then
        echo "next: systemctl daemon-reload; weave setup"
    else
        echo "next: weave setup (as root)"
    fi
fi
