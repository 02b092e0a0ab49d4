#!/usr/bin/env bash
# headers.sh [DIR]: get the headers of ONNX Runtime and nlohmann, which the tests of the C++ runtime need, for systems
# without them. Debian's packages are unpacked to DIR (default: build/headers) and not installed. Debian has packages of
# ONNX Runtime since version 13. The headers work with every newer library.
set -euo pipefail
folder=${1:-"$(dirname "$0")/../../build/headers"}
[ -d "$folder/usr/include/onnxruntime" ] && exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keyring] http://deb.debian.org/debian trixie main" > "$work/sources.list"
options=(-qq -o APT::Sandbox::User=root -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=-
  -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache")
apt-get "${options[@]}" update
(cd "$work" && apt-get "${options[@]}" download libonnxruntime-dev nlohmann-json3-dev)
for package in "$work"/*.deb; do dpkg -x "$package" "$work/root"; done
mkdir -p "$(dirname "$folder")"
rm -rf "$folder"
mv "$work/root" "$folder"
