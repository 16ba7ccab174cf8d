#!/bin/sh
# Installs nexus-node for this account, and checks first that nobody changed it on the way.
#
#   sh install.sh [--from DIR|URL] [--to DIR] [--unsigned]
#   sh install.sh --uninstall [--to DIR]
#
# Exit codes: 0 done, 1 failed, 2 usage, 4 refused by a check, 5 nothing there for this machine. If it is not 0,
# nothing was changed.
set -eu
# others may read the program, whatever this account hides of its own
umask 022

# dist/build fills these in. KEY_OPENSSL and KEY_SSH are two forms of one public key.
VERSION=''
URL=''
KEY_OPENSSL=''
KEY_SSH=''

ARCHIVE_BYTES_MAX=268435456
TEXT_BYTES_MAX=65536
PAGES='man/man1/nexus-node.1 man/man1/nexus-node-*.1 bash-completion/completions/nexus-node
    zsh/site-functions/_nexus-node fish/vendor_completions.d/nexus-node.fish'

usage() {
    cat <<END
Installs nexus-node $VERSION for this account.

  --from DIR|URL  where the packages lie${URL:+ [default: $URL]}
  --to DIR        where the program goes [default: ~/.local/bin]; manual and completions go beside a bin
                  directory, into share
  --unsigned      go by checksums alone: they find damage, but nobody vouches for the program
  --uninstall     take program, manual and completions away; the data of nodes stays
END
}

# problem EXIT MESSAGE HINT
problem() {
    printf 'error: %s\nhint: %s\n' "$2" "$3" >&2
    exit "$1"
}

has() { command -v "$1" >/dev/null 2>&1; }

# Standard output has the bytes at the address $1.
get() {
    case $1 in
        https://*) protocols='=https' ;;
        *) protocols='=http,https' ;;
    esac
    if has curl; then
        curl --fail --silent --show-error --location --proto "$protocols" --connect-timeout 20 "$1"
    elif has wget; then
        wget -q -T 20 -O - "$1"
    else
        return 1
    fi
}

# fetch NAME BYTES_MAX: puts the file NAME into $work.
fetch() {
    case $from in
        http://* | https://*)
            { get "$from/$1" || : >"$work/failed"; } | head -c "$2" >"$work/$1"
            [ ! -e "$work/failed" ] || problem 1 "$from/$1 cannot be had whole" "is the address right, and the network up?"
            ;;
        *)
            [ -f "$from/$1" ] || problem 1 "$from has no $1" "--from names the directory that dist/build has filled"
            head -c "$2" <"$from/$1" >"$work/$1"
            ;;
    esac
}

# How programs name this machine.
target() {
    system=$(uname -s) machine=$(uname -m)
    case $machine in
        x86_64 | amd64) machine=x86_64 ;;
        aarch64 | arm64) machine=aarch64 ;;
    esac
    case $system in
        Linux) echo "$machine-unknown-linux-gnu" ;;
        Darwin) echo "$machine-apple-darwin" ;;
        *) echo "$machine-$system" ;;
    esac
}

# OpenSSL 3 or later can check, and OpenSSH 8 or later.
openssl_can() { has openssl && openssl pkeyutl -help 2>&1 | grep -q -e -rawin; }
ssh_keygen_can() { has ssh-keygen && ssh-keygen -Y verify 2>&1 | grep -q missing; }

by_openssl() {
    fetch SHA256SUMS.sig "$TEXT_BYTES_MAX"
    printf -- '-----BEGIN PUBLIC KEY-----\n%s\n-----END PUBLIC KEY-----\n' "$KEY_OPENSSL" >"$work/key"
    openssl pkeyutl -verify -rawin -pubin -inkey "$work/key" -sigfile "$work/SHA256SUMS.sig" \
        -in "$work/SHA256SUMS" >/dev/null 2>&1
}

by_ssh_keygen() {
    fetch SHA256SUMS.sshsig "$TEXT_BYTES_MAX"
    printf 'nexus-node namespaces="nexus-node-release" ssh-ed25519 %s\n' "$KEY_SSH" >"$work/key"
    ssh-keygen -Y verify -f "$work/key" -I nexus-node -n nexus-node-release -s "$work/SHA256SUMS.sshsig" \
        <"$work/SHA256SUMS" >/dev/null 2>&1
}

# The list of checksums is the one that was signed, or --unsigned was given.
check_signature() {
    if [ "$unsigned" = yes ]; then
        echo "unsigned: nobody vouches for this program" >&2
        return
    fi
    [ -n "$KEY_OPENSSL" ] ||
        problem 4 "these packages are not signed" "if you made them yourself, --unsigned installs them all the same"
    able=no
    # either one proves it; a program that only claims to be able does not stop the other
    if openssl_can; then
        able=yes
        by_openssl && return
    fi
    if ssh_keygen_can; then
        able=yes
        by_ssh_keygen && return
    fi
    [ "$able" = yes ] || problem 4 "nothing here can check the signature" \
        "install openssl 3 or ssh-keygen; --unsigned goes by checksums alone"
    problem 4 "the signature of SHA256SUMS is wrong: it was changed, or is another's" \
        "do not use these packages; fetch install.sh and the packages anew"
}

sha256() {
    if has sha256sum; then
        sha256sum <"$1"
    elif has shasum; then
        shasum -a 256 <"$1"
    elif has openssl; then
        openssl dgst -sha256 -r <"$1"
    else
        problem 1 "nothing here computes SHA-256" "install coreutils or openssl"
    fi
}

# The checksum that the list has for the file $1; nothing if it is not in the list.
listed() {
    while read -r sum name; do
        if [ "$name" = "$1" ]; then
            echo "$sum"
            return
        fi
    done <"$work/SHA256SUMS"
}

# The programs that the list has, by their machines.
machines() {
    sed -n "s/^.*  nexus-node-$VERSION-\(.*\)\.tar\.gz\$/\1/p" "$work/SHA256SUMS" | grep -v -e '-container$' | tr '\n' ' '
}

# Unpacks the archive, checked, into $stage, and starts the program once.
unpack() {
    name="nexus-node-$VERSION-$(target)"
    wanted=$(listed "$name.tar.gz")
    [ -n "$wanted" ] || problem 5 "there is no program for $(target) here, only for: $(machines)" \
        "README.md says how to build one from the source"
    fetch "$name.tar.gz" "$ARCHIVE_BYTES_MAX"
    found=$(sha256 "$work/$name.tar.gz")
    [ "${found%% *}" = "$wanted" ] || problem 4 "$name.tar.gz is damaged: its checksum is not the one in SHA256SUMS" \
        "fetch it anew; if that does not help, somebody changed it"
    gzip -d -c <"$work/$name.tar.gz" | (cd "$stage" && tar -x -f -) ||
        problem 1 "$name.tar.gz cannot be unpacked into $to" "is the disk full?"
    stage_top="$stage/$name"
    says=$("$stage_top/nexus-node" --version 2>&1) || problem 1 "the program does not run here: $says" \
        "does $to allow programs to run? --to names another directory"
    [ "$says" = "nexus-node $VERSION" ] || problem 4 "the program says it is $says, not $VERSION" "fetch the packages anew"
}

# The directory of manual and completions: beside a bin directory. Nothing for any other.
share() {
    case $to in
        */bin) echo "${to%/bin}/share" ;;
    esac
}

# Manual and completions are not worth a failure: the program is there already.
place_pages() {
    share=$(share)
    [ -n "$share" ] || return 0
    (
        cd "$stage_top/share"
        for page in $PAGES; do
            mkdir -p "$share/${page%/*}" && cp "$page" "$share/$page.new" && mv -f "$share/$page.new" "$share/$page" ||
                exit 1
        done
    ) || echo "manual and completions could not be written to $share" >&2
}

place() {
    old=
    [ ! -d "$to/nexus-node" ] || problem 1 "$to/nexus-node is a directory" "--to names another place"
    [ ! -e "$to/nexus-node" ] || old=$("$to/nexus-node" --version 2>/dev/null) || old='another program'
    chmod 755 "$stage_top/nexus-node"
    # one step: whoever looks sees the old program or the new one
    mv -f "$stage_top/nexus-node" "$to/nexus-node" ||
        problem 1 "$to/nexus-node cannot be written" "--to names another directory"
    place_pages
}

tell() {
    echo "installed $says: $to/nexus-node"
    if [ -n "$old" ]; then
        echo "it replaced $old; a running node goes on with that until \`nexus-node stop\` and its next start"
    fi
    case ":$PATH:" in
        *":$to:"*)
            first=$(command -v nexus-node || :)
            [ "$first" = "$to/nexus-node" ] || echo "your PATH finds another one first: $first"
            ;;
        *) echo "next: export PATH=\"$to:\$PATH\"   (and the same in your shell's profile)" ;;
    esac
    echo "next: nexus-node demo             three nodes on this machine, each step checked"
    echo "next: nexus-node connect claude   or codex, cursor, vscode, gemini: memory for your agent"
}

uninstall() {
    [ -e "$to/nexus-node" ] || problem 5 "$to has no nexus-node" "--to names the directory that it was installed into"
    rm -f "$to/nexus-node" || problem 1 "$to/nexus-node cannot be removed" "is it yours?"
    share=$(share)
    if [ -n "$share" ] && [ -d "$share" ]; then
        # the pattern in PAGES is meant
        (cd "$share" && rm -f $PAGES)
    fi
    echo "removed $to/nexus-node; the data of nodes stays where it is"
}

read_arguments() {
    from=$URL to='' unsigned=no act=install
    while [ $# -gt 0 ]; do
        case $1 in
            --from | --to) [ $# -ge 2 ] && [ -n "$2" ] || problem 2 "$1 needs a value" "\`sh install.sh --help\` has the options" ;;
        esac
        case $1 in
            --from) from=$2 && shift ;;
            --to) to=$2 && shift ;;
            --unsigned) unsigned=yes ;;
            --uninstall) act=uninstall ;;
            -h | --help) usage && exit 0 ;;
            *) problem 2 "there is no option $1" "\`sh install.sh --help\` has the options" ;;
        esac
        shift
    done
    [ -n "$to" ] || [ -n "${HOME:-}" ] || problem 2 "HOME is not set" "--to names the directory for the program"
    to=${to:-$HOME/.local/bin}
    case $to in
        /*) ;;
        *) to=$PWD/$to ;;
    esac
    while [ "$to" != "${to%/}" ]; do to=${to%/}; done
    [ -n "$to" ] || problem 2 "the program cannot go into /" "--to names a directory, such as ~/.local/bin"
}

clean() {
    [ -z "${work:-}" ] || rm -rf "$work"
    [ -z "${stage:-}" ] || rm -rf "$stage"
}

# All is read before anything is done: half a script, as from a connection that broke, does nothing.
main() {
    [ -n "$VERSION" ] || problem 2 "this is the pattern of install.sh" "dist/build makes the one that installs"
    read_arguments "$@"
    [ "$act" = install ] || { uninstall && exit; }
    [ -n "$from" ] || problem 2 "no place of the packages is known" "--from DIR or --from URL names it"
    case $from in
        http://* | https://*)
            has curl || has wget ||
                problem 1 "neither curl nor wget is here" "install one, or copy the packages here and use --from DIR"
            ;;
        /*) ;;
        *) from=$PWD/$from ;;
    esac
    from=${from%/}
    trap clean EXIT
    trap 'exit 130' HUP INT TERM
    work=$(mktemp -d) || problem 1 "no temporary directory can be made" "TMPDIR names a place to write to"
    fetch SHA256SUMS "$TEXT_BYTES_MAX"
    check_signature
    mkdir -p "$to" && stage=$(mktemp -d "$to/.nexus-node.XXXXXX") ||
        problem 1 "$to cannot be written to" "--to names another directory"
    unpack
    place
    tell
}

main "$@"
