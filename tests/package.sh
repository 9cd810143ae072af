#!/bin/sh
# What find_package(planrt) takes and refuses: package.sh PREFIX VERSION CMAKE
set -eu
prefix=$1 version=$2 cmake=$3 failed=0
major=${version%%.*} minor=${version#*.} && minor=${minor%%.*}

expect() { # found or refused, text in what is said, arguments of find_package
  outcome=$1 text=$2
  shift 2
  rm -rf package_build
  mkdir -p package
  printf 'cmake_minimum_required(VERSION 3.20)\nproject(p LANGUAGES C)\nfind_package(planrt %s CONFIG)\n' "$*" >package/CMakeLists.txt
  if "$cmake" -S package -B package_build -DCMAKE_PREFIX_PATH="$prefix" >said 2>&1; then got=found; else got=refused; fi
  [ "$got" = "$outcome" ] && grep -q -- "$text" said && return
  echo "find_package(planrt $*): $got, expected $outcome and '$text'" && cat said
  failed=1
}

for file in LICENSE-MIT LICENSE-APACHE THIRD-PARTY-NOTICES.txt; do
  [ -s "$prefix/share/doc/planrt/$file" ] || { echo "no share/doc/planrt/$file" && failed=1; }
done
expect found "" REQUIRED
expect found "" "$version" REQUIRED
expect found "" "$major.$minor" REQUIRED
expect found "" REQUIRED OPTIONAL_COMPONENTS gpu
expect refused "no component gpu" REQUIRED COMPONENTS gpu
expect refused "version" "$major.$((minor + 1))" REQUIRED
[ "$major" != 0 ] || [ "$minor" = 0 ] || expect refused "version" "$major.$((minor - 1))" REQUIRED
expect refused "version" "$((major + 1)).$minor" REQUIRED
exit $failed
