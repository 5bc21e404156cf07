#!/usr/bin/env bash
# Audit one checkpoint, and turn the verdict into the result of a CI job. action.yml and ci/gitlab.yml run it.
#
# Inputs are variables, so that no value is ever pasted into a script; an empty one counts as not given:
#
#   GATE_MODEL      the checkpoint (required)
#   GATE_DATA       images to measure on              GATE_REFERENCE  a model that is trusted
#   GATE_REFERENCES a file of 'references build'      GATE_BASE       the model that this one was finetuned from
#   GATE_POLICY     policy file                       GATE_EFFORT     quick, standard or thorough
#   GATE_CLASSES    class names, one a line           GATE_ARCH       open_clip name, or JSON file
#   GATE_TEMPLATES  caption templates, one a line     GATE_WEIGHTS    which of several sets in the file
#   GATE_SEED       of every random choice            GATE_DEVICE     auto, cpu or cuda[:N]
#   GATE_WORKERS    threads that decode images        GATE_NO_SEARCH  true tries known triggers only
#   GATE_MAX_MINUTES end after so many minutes        GATE_POWER      true plants test backdoors, and says how many are found
#   GATE_CONFIG     file with defaults of options     (none is looked for: a pull request could bring one)
#   GATE_LABEL      labels for the reports, one KEY=VALUE a line
#   GATE_FAIL_ON    inconclusive (default) or error, which means fail only: the least verdict that fails the job
#   GATE_EXIT_ZERO  true goes on after every verdict  GATE_REPORT_DIR folder for the reports (default: clipclean-report)
#
# The verdict is the one of report.json, and no CLIPCLEAN_ variable of the job reaches the audit. An error of the tool fails
# the job whatever these say, and so does a verdict without a report. Written for bash 3.2, which is what macOS has.
set -euo pipefail

main() {
  fail_on=${GATE_FAIL_ON:-inconclusive}
  folder=${GATE_REPORT_DIR:-clipclean-report}
  code=0
  prepare_and_audit || code=$?
  judge
  summarise
  set_outputs
  annotate
  exit "$result"
}

prepare_and_audit() {
  prepare && unheard audit
}

# Check what clipclean does not, and leave no report of an earlier run to be taken for one of this.
prepare() {
  case $fail_on in
    inconclusive | error) ;;
    *) refuse "fail-on is neither inconclusive nor error. What was fail is error; for never set exit-zero to true." || return ;;
  esac
  [[ -z ${GATE_LABELS:-}${GATE_OUTPUT:-} ]] || refuse "labels and output are gone: use label and report-dir." || return
  [[ -n ${GATE_MODEL:-} ]] || refuse "no model is named. Set GATE_MODEL, or the input model of the action." || return
  # Names of reports become lines of GITHUB_OUTPUT: one with a line break could say there what it likes.
  [[ $folder != *[$'\n\r']* ]] || refuse "the output folder has a line break in its name." || return
  while [[ $folder == ?*/ ]]; do folder=${folder%/}; done
  [[ $folder != -* ]] || folder=./$folder # or programs would take it for an option
  check_links || return
  mkdir -p -- "$folder" || return 5
  rm -f -- "$folder/report.json" "$folder/report.html" "$folder/report.sarif" "$folder/report.xml" \
    "$folder/report.md" || return 5
}

# A repository could bring a link in any part of the path, and reports would be written where it leads to.
check_links() {
  local part=$folder
  while [[ -n $part && $part != . ]]; do
    [[ ! -L $part ]] || refuse "the output folder is a link, or lies below one. Name the folder that it leads to." || return
    [[ $part == */* ]] || return 0
    part=${part%/*}
    while [[ $part == ?*/ ]]; do part=${part%/}; done
  done
}

refuse() {
  printf 'gate: %s\n' "$1" >&2
  return 2
}

# A value stays behind its = sign and the model behind --, so neither can be taken for an option.
audit() {
  local -a arguments=(audit)
  local option name value
  for option in data reference references base policy effort classes arch templates weights seed device workers max-minutes config; do
    name=GATE_$(printf '%s' "$option" | tr '[:lower:]-' '[:upper:]_')
    value=${!name:-}
    if [[ -n $value ]]; then arguments+=("--$option=$value"); fi
  done
  if [[ ${GATE_NO_SEARCH:-} == true ]]; then arguments+=(--no-search); fi
  if [[ ${GATE_POWER:-} == true ]]; then arguments+=(--power); fi
  while IFS= read -r value; do
    if [[ -n $value ]]; then arguments+=("--label=$value"); fi
  done <<<"${GATE_LABEL:-}"
  arguments+=(
    "--report=json=$folder/report.json"
    "--report=html=$folder/report.html"
    "--report=sarif=$folder/report.sarif"
    "--report=junit=$folder/report.xml"
    "--report=markdown=$folder/report.md"
  )
  if [[ -z ${GATE_CONFIG:-} ]]; then arguments+=(--config=off); fi
  local -a clear=(-u CLIPCLEAN_)
  for name in "${!CLIPCLEAN_@}"; do
    if [[ $name != CLIPCLEAN_DOCS ]]; then clear+=(-u "$name"); fi
  done
  env "${clear[@]}" clipclean "${arguments[@]}" -- "$GATE_MODEL" 2>&1
}

# On GitHub, lines of a log can be commands to the runner, and names from a hostile file end up in the log: turn
# commands off while it is written. One stream, so that no line comes after the end of that.
unheard() {
  local status=0 token
  if [[ ${GITHUB_ACTIONS:-} != true ]]; then
    "$@"
    return
  fi
  token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  printf '::stop-commands::%s\n' "$token"
  "$@" || status=$?
  printf '\n::%s::\n' "$token"
  return "$status"
}

# The verdict of report.json and the result of the job. What is not foreseen here is an error. So is an exit code of a verdict
# without a report: neither the code nor the log, which holds names from the file, shows that the model was looked at.
judge() {
  result=$code
  case $code in
    0 | 1 | 4) verdict=$(sed -n 's/^  "verdict": "\([a-z]*\)",\{0,1\}$/\1/p' "$folder/report.json" 2>/dev/null) || verdict= ;;
    2) verdict=error meaning="the command line, a recipe or a policy is invalid" ;;
    3) verdict=error meaning="input unreadable, or refused as unsafe" ;;
    5) verdict=error meaning="out of memory, disk full, or another resource" ;;
    70) verdict=error meaning="a bug in clipclean" ;;
    130) verdict=error meaning="interrupted" ;;
    *) verdict=error meaning="clipclean could not be run, or was ended from outside" ;;
  esac
  case $verdict in
    error) ;;
    pass) meaning="pass" result=0 ;;
    fail) meaning="the policy failed: backdoor found, or too much accuracy lost" result=1 ;;
    inconclusive) meaning="inconclusive: too little evidence to say pass or fail" result=4 ;;
    *)
      verdict=error meaning="clipclean wrote no report with a verdict, so its exit code $code is not believed" result=70
      if ((code == 4)); then meaning="clipclean could not look and wrote no report, so there is no verdict"; fi
      ;;
  esac
  if [[ $verdict != error && ${GATE_EXIT_ZERO:-} == true || $fail_on:$verdict == error:inconclusive ]]; then result=0; fi
  printf 'gate: %s (exit code %s): %s. The job %s.\n' "$verdict" "$code" "$meaning" \
    "$(if ((result)); then echo fails; else echo 'goes on'; fi)"
}

summarise() {
  [[ -n ${GITHUB_STEP_SUMMARY:-} ]] || return 0
  local page=$folder/report.md
  # What the page does not fold: verdict, headline, findings, next step, in fifteen lines. GitHub drops a summary of more than 1 MiB.
  if [[ $verdict != error && -s $page ]] && (($(wc -c <"$page") < 1000000)); then
    awk '/^<details>/ || /^### / { exit } /^>/ && ++aside > 3 { next } ++shown > 13 { exit } { print }' <"$page"
    printf '\nThe reports of this step have all of it.\n'
  else
    printf '## clipclean: %s\n\nExit code %s: %s. The log of this step says more.\n' "$verdict" "$code" "$meaning"
  fi >>"$GITHUB_STEP_SUMMARY"
}

set_outputs() {
  [[ -n ${GITHUB_OUTPUT:-} ]] || return 0
  local form
  {
    printf 'verdict=%s\nexit-code=%s\n' "$verdict" "$code"
    for form in json sarif html; do
      if [[ $verdict != error && -s $folder/report.$form ]]; then
        printf '%s=%s\n' "$form" "$folder/report.$form"
      fi
    done
  } >>"$GITHUB_OUTPUT"
}

# Name the model, and the class that it is turned towards most, as the JSON of the report spells it.
annotate() {
  [[ ${GITHUB_ACTIONS:-} == true && $verdict != pass ]] || return 0
  local suspect="" model=${GATE_MODEL:-no model}
  if [[ $verdict != error ]]; then
    suspect=$(sed -n '/^  "suspects": \[$/,/^  \]/s/^ *"class": "\(.*\)",\{0,1\}$/\1/p' "$folder/report.json")
    suspect=${suspect%%$'\n'*}
  fi
  printf '::%s file=%s,title=clipclean::%s: %s%s (exit code %s)\n' "$(if ((result)); then echo error; else echo warning; fi)" \
    "$(property "$model")" "$(escaped "$model")" "$meaning" "$(escaped "${suspect:+; most suspicious class: $suspect}")" "$code"
}

# Text as the runner takes it in a message, and in a property of it.
escaped() {
  local text=${1//\%/%25}
  text=${text//$'\r'/%0D}
  printf '%s' "${text//$'\n'/%0A}"
}

property() {
  local text
  text=$(escaped "$1")
  text=${text//:/%3A}
  printf '%s' "${text//,/%2C}"
}

main
