#!/usr/bin/env bash
# From somebody's recordings to a scored model: 200 recordings of speechocean762 are made into a folder
# as strangers have them (odd column names, mixed rates and formats, three broken files, two leaks), and
# then what a stranger types is run and timed; the first command ends with the names of the columns.
#
#     bash tools/stranger.sh SPEECHOCEAN_FOLDER WORK_FOLDER [SETTING=VALUE ...]
#
# SPEECHOCEAN_FOLDER has a manifest.tsv and audio/. Settings go to `asr run`.
set -euo pipefail
source_folder=$(realpath "$1")
mkdir -p "$2"
tools=$(realpath "$(dirname "$0")")
cd "$2"
settings=("${@:3}")

python "$tools/stranger_corpus.py" "$source_folder" recordings

SECONDS=0
typed() {
  echo
  echo "[$((SECONDS / 60)) min $((SECONDS % 60)) s] \$ $*"
  "$@" || echo "(exit status $?)"
}

typed asr prepare recordings/export.csv -o data/mine
typed asr prepare recordings/export.csv -o data/mine --audio-column Datei \
  --text-column "Gesprochener Text" --speaker-column Sprecher_ID
typed asr check data/mine/train.jsonl
typed asr check data/mine/train.jsonl --against data/mine/test.jsonl
echo "name: mine" > mine.yaml
typed asr run mine.yaml data.folder=data/mine train.init_from=english "${settings[@]}"
echo
echo "$((SECONDS / 60)) min $((SECONDS % 60)) s, 5 commands and one line in mine.yaml"
