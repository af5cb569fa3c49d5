#!/bin/bash
# Prints the guest's site file. Dates count from today, so that the test does not expire. usage: site.sh with-signs|without-signs
day() { date -u -d "$1" +%Y-%m-%d; }
cat <<S
[site]
name = "appliance"
mode = "demo"
controller = "Placard's tests"
contact = "nobody@placard.invalid"
S
for place in hall gate door; do
  cat <<S
[[zone]]
id = "$place"
kind = "public"
[[area]]
stream = "$place"
zone = "$place"
polygon = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
S
  [ "$1" = with-signs ] && cat <<S
[[sign]]
id = "$place-sign"
zone = "$place"
text = "Face recognition in use: search for a missing person. Placard's tests, nobody@placard.invalid"
languages = ["en"]
controller = "Placard's tests"
contact = "nobody@placard.invalid"
announces = [{ purpose = "missing-person", language = "en", words = "search for a missing person" }]
position = "inside a virtual machine"
photo_sha256 = "$(printf '%064d' 0)"
posted_on = $(day '-10 days')
inspected_at = $(day yesterday)T09:00:00Z
inspected_by = "test"
S
done
cat <<S
[[purpose]]
purpose = "missing-person:mp-7"
zones = ["hall", "gate", "door"]
basis = { kind = "public-safety", statute = "a statute", authority = "an authority", from = $(day '-10 days'), until = $(day '+300 days') }
assessment = "pia-1"
review_on = $(day '+100 days')
S
