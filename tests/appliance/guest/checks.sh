#!/bin/bash
# shellcheck disable=SC2016  # conditions are evaluated when they are checked
# Runs inside the guest, as root, with the host's folder at /share: installs Placard as its package would, then treats it badly.
#
# Every check writes one line `name ok|failed detail` to /share/out/results; tests/appliance.rs knows which names there must be. Times are
# generous: the machine is emulated and the host is busy.
set -u
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin LC_ALL=C
# The program sets it itself, by starting once more; that takes seconds here.
export ORT_DISABLE_TELEMETRY=1
results=/share/out/results
: >"$results"

say() { echo "[$(cut -d' ' -f1 /proc/uptime)] $*"; }
ok() { say "ok: $*"; echo "$1 ok ${*:2}" >>"$results"; }
failed() {
  say "FAILED: $*"
  echo "$1 failed ${*:2}" >>"$results"
  systemctl --no-pager --lines=0 status placard
  journalctl --no-pager -q -u placard -n 15 -o cat
}
# name, detail, condition...: the condition decides.
check() { if "${@:3}"; then ok "$1" "$2"; else failed "$1" "$2"; fi; }
# seconds, condition...: until the condition holds; prints nothing.
within() {
  local end=$((SECONDS + $1))
  until "${@:2}"; do
    [ $SECONDS -ge $end ] && return 1
    sleep 0.3
  done
}

# --- what the running service says of itself --------------------------------------------------------------------------------------------
# `placard status --json` asks the control socket this; loading the program for every question would take an emulated machine seconds. So
# does asking at all: the answer is kept for a moment, one line `stream.field<TAB>value` for each of its values.
now=/tmp/now
echo 0 >$now.at
status() {
  perl -MIO::Socket::UNIX -e '
    my $socket = IO::Socket::UNIX->new("/run/placard/control.sock") or exit 1;
    print $socket "GET /v1/status HTTP/1.0\r\nHost: placard\r\n\r\n";
    local $/; my $answer = <$socket>; $answer =~ s/^.*?\r\n\r\n//s; print $answer'
}
look() {
  [ $((${EPOCHREALTIME/./} - $(<$now.at))) -lt 250000 ] && return
  status | jq -r '".name\t\(.name)", (.galleries[]? | "gallery.templates\t\(.templates)"),
    (.streams[]? | .name as $stream | to_entries[] | "\($stream).\(.key)\t\(.value)"),
    "hall.refused\t\([.counters[]? | select(.stream == "hall" and .name == "frames_refused_total") | .value] | add // 0)"' >$now 2>/dev/null
  echo "${EPOCHREALTIME/./}" >$now.at
}
# stream, field → $value
find_value() {
  local key
  look
  while IFS=$'\t' read -r key value; do [ "$key" = "$1.$2" ] && return; done <$now
  value=
  return 1
}
# stream, field
of() { find_value "$@"; echo "$value"; }
# stream, field, expected
is() { find_value "$1" "$2" && [ "$value" = "$3" ]; }
# stream, field, number: greater than
above() { find_value "$1" "$2" && [ "${value%.*}" -gt "$3" ]; }
live() { is "$1" health live; }
both_live() { live hall && live gate; }
both_in() { is hall state "$1" && is gate state "$1"; }
# stream: no longer live, and which word it uses
down() { case $(of "$1" health) in failed | stalled | connecting) true ;; *) false ;; esac; }
pid() { systemctl show -P MainPID placard; }
active() { [ "$(systemctl is-active placard)" = active ]; }
# stream, seconds: frames that arrive meanwhile
arriving() {
  local before
  before=$(of "$1" frames)
  sleep "$2"
  echo $(($(of "$1" frames) - before))
}
# stream, frames: that many more arrive
flows() { within 20 above "$1" frames $(($(of "$1" frames) + $2)); }
# Descriptors that the service has open on a device.
descriptors() { find "/proc/$(pid)/fd" -lname "/dev/$1*" | wc -l; }
mappings() { grep -c "/dev/$1" "/proc/$(pid)/maps"; }
as_service() { HOME=/var/lib/placard setpriv --reuid placard --regid placard --init-groups -- "$@"; }
# Lines of the journal, all of them events.
events() { cat /var/lib/placard/journal/*.jsonl | jq -es 'length'; }

# --- as the package does it -------------------------------------------------------------------------------------------------------------
watchdog() { # seconds
  install -D -m644 /dev/stdin /etc/systemd/system/placard.service.d/emulated.conf <<E
[Service]
WatchdogSec=$1
TimeoutStopSec=120
ExecStartPre=/usr/local/bin/try-the-fence
E
}

install_placard() {
  install -m755 /share/placard /usr/bin/placard
  install -D -m644 -t /usr/lib/placard /share/libonnxruntime.so*
  install -D -m644 /share/systemd/placard.service /usr/lib/systemd/system/placard.service
  install -D -m644 /share/systemd/placard.sysusers /usr/lib/sysusers.d/placard.conf
  install -D -m644 /share/systemd/placard.tmpfiles /usr/lib/tmpfiles.d/placard.conf
  # An embedding takes the emulated processor longer than the watchdog allows a real one. Everything else is as installed.
  watchdog 300
  install -D -m755 /dev/stdin /usr/local/bin/try-the-fence <<'E'
#!/bin/bash
# Runs in the service's own confinement, before it starts, once. Prints what it got away with.
[ -e /var/lib/placard/fence ] && exit 0
{
  unshare --net true && echo "a network namespace of its own"
  unshare --user true && echo "a user namespace of its own"
  [ -e ~root/.profile ] && echo "root's home"
  touch /etc/placard/mine && echo "a file in /etc/placard"
  touch /usr/bin/mine && echo "a file in /usr/bin"
  head -c 1 /dev/vda && echo "the disk"
  kill -0 1 && echo "process 1"
  [ "$(sed -n 's/^CapBnd:\s*//p' /proc/self/status)" = 0000000000000000 ] || echo "capabilities"
  echo tried
} >/var/lib/placard/fence 2>/tmp/fence.errors
exit 0
E
  systemd-sysusers /usr/lib/sysusers.d/placard.conf && systemd-tmpfiles --create /usr/lib/tmpfiles.d/placard.conf &&
    systemctl daemon-reload && install -m644 /share/pipeline.toml /etc/placard/pipeline.toml
}

# By root, as operators do it: what it leaves must be the service's.
commission() { # with-signs|without-signs, options...
  /share/site.sh "$1" >/tmp/site.toml && placard commission /tmp/site.toml "${@:2}"
}

enrol() { placard enrol --adult --purpose missing-person:mp-7 --name Wanted /share/wanted.png; }

unit_and_user() {
  install_placard
  check installed "$(id placard)" eval 'id placard | grep -q video && [ -d /etc/placard ] && [ "$(stat -c "%U %a" /var/lib/placard)" = "placard 700" ]'
  check unit-verified "systemd-analyze verify finds nothing" eval '[ -z "$(systemd-analyze verify --man=no placard.service 2>&1 | tee /dev/stderr | grep placard)" ]'
  check commissioned "without signs" commission without-signs
  check enrolled "from another photograph than the one that is shown" enrol
  check owned "$(find /var/lib/placard -user placard | wc -l) files and directories are the service's" eval '[ -z "$(find /var/lib/placard ! -user placard | tee /dev/stderr)" ]'
}

# The HDMI camera shows somebody: a photograph, written to the output again and again. Both ends must have the same timings, or the input
# shows noise; polarities=0 is needed; without the overlay's text the picture is exact. Of 60 frames a second ten are enough here.
shows_a_face() { # frame
  local timings=width=640,height=480,interlaced=0,pixelclock=25175000,hfp=16,hs=96,hbp=48,vfp=10,vs=2,vbp=33,polarities=0
  v4l2-ctl -d /dev/video9 --set-dv-bt-timings "$timings" && v4l2-ctl -d /dev/video2 --set-dv-bt-timings "$timings" &&
    v4l2-ctl -d /dev/video9 --set-fmt-video-out=width=640,height=480,pixelformat=NV12 &&
    v4l2-ctl -d /dev/video2 --set-fmt-video=width=640,height=480,pixelformat=NV12 &&
    v4l2-ctl -d /dev/video2 -c loop_video=1 -c osd_text_mode=2 -c percentage_of_dropped_buffers=83 || return
  v4l2-ctl -d /dev/video9 --stream-out-mmap=4 --stream-from="$1" --stream-loop >/dev/null 2>&1 &
  shower=$!
  # What the camera sees now is what was written.
  sleep 1
  v4l2-ctl -d /dev/video2 --stream-mmap=4 --stream-skip=3 --stream-count=1 --stream-to=/tmp/seen.nv12 >/dev/null 2>&1
  cmp "$1" /tmp/seen.nv12
}

probed_well() { [ "$(jq -r ".source | .frames > 2 and .health.capture_clock == \"driver\" and .health.width > 0" <<<"$1")" = true ]; }

cameras() {
  local probed
  modprobe vivid && udevadm settle
  cp /share/shown.nv12 /tmp/shown.nv12
  check shows-a-face "$(stat -c %s /tmp/shown.nv12) bytes of photograph on /dev/video2" shows_a_face /tmp/shown.nv12
  probed=$(as_service placard probe v4l2:/dev/video0 --native --seconds 3 --json)
  say "native: $(jq -c .source <<<"$probed")"
  check probe-native "$(jq -c '.source.health | {state, width, height, caps, capture_clock}' <<<"$probed")" probed_well "$probed"
  probed=$(as_service placard probe v4l2:/dev/video1 --seconds 5 --json)
  say "gstreamer: $(jq -c .source <<<"$probed")"
  check probe-gstreamer "$(jq -c '.source.health | {state, width, height, caps, capture_clock}' <<<"$probed")" probed_well "$probed"
}

# --- no sign, no look -------------------------------------------------------------------------------------------------------------------
dark_without_signs() {
  systemctl start placard
  check started "$(systemctl show -P StatusText placard), Type=$(systemctl show -P Type placard)" active
  check confined "$(cat /var/lib/placard/fence)" eval '[ "$(cat /var/lib/placard/fence)" = tried ]'
  local told
  told=$(placard status --json | jq -c '[.streams[].name]')
  check status-command "$told" [ "$told" = '["hall","gate","door"]' ]
  check live-in-the-dark "hall: $(within 60 both_live; of hall health), gate: $(of gate health)" both_live
  within 30 above hall withheld 3
  within 30 above gate withheld 3
  local hall gate
  hall="hall: $(of hall frames) frames, $(of hall withheld) withheld, $(of hall state) ($(of hall reason))"
  gate="gate: $(of gate frames) frames, $(of gate withheld) withheld, $(of gate state)"
  check withheld-without-signs "$hall $gate" eval 'above hall withheld 3 && above gate withheld 3 && is hall detected 0 && is gate detected 0'
}

looks_with_signs() {
  commission with-signs --force
  check recognise-with-signs "hall: $(within 30 both_in recognise; of hall state), gate: $(of gate state)" both_in recognise
  check gallery "templates: $(of gallery templates)" is gallery templates 1
  within 60 above hall detected 1
  within 60 above gate detected 1
  check detecting "hall: $(of hall detected) frames looked at, gate: $(of gate detected)" eval 'above hall detected 1 && above gate detected 1'
  check geometry "hall $(of hall width)x$(of hall height) $(of hall decoder), gate $(of gate width)x$(of gate height) $(of gate decoder)" \
    eval 'is hall width 640 && is hall height 480 && is gate width 640 && is gate height 480'
  say "steps: $(status | jq -c '[.steps[] | {name, count, p50_ms, max_ms}]')"
  check driver-clock "hall: $(of hall capture_clock), gate: $(of gate capture_clock)" eval 'is hall capture_clock driver && is gate capture_clock driver'
}

# From the driver's buffer to the journal: the photograph on /dev/video2 shows somebody who was enrolled from another one.
recognised() {
  check recognised "$(within 120 above door hits 0; of door hits) hits, people: $(of door tracks), looked at: $(of door detected)" above door hits 0
  local event
  event=$(cat /var/lib/placard/journal/*.jsonl | grep -a '"stream":"door"' | head -1)
  check journalled "$(jq -c '{kind, stream, purpose, review}' <<<"$event")" \
    eval '[ "$(jq -r .kind <<<"$event")" = face-match ] && ! cat /var/lib/placard/journal/*.jsonl | grep -aq "\"stream\":\"hall\""'
  # It has shown what it is for; the processor is needed elsewhere.
  kill "$shower"
  v4l2-ctl -d /dev/video2 -c percentage_of_dropped_buffers=98
}

withdrawn_sign() {
  local before gate_before after hall
  placard sign withdraw hall-sign --by test --reason "taken down" || return
  within 10 is hall state off || within 10 is hall state capture-only
  # One frame may have been under way; from here on nothing may move.
  sleep 2
  look; before=$(of hall detected) gate_before=$(of gate detected)
  hall=$(arriving hall 3)
  after=$(of hall detected)
  check dark-after-withdrawal "hall is $(of hall state) ($(of hall reason)): $hall frames arrived, looked at: $before then $after" \
    eval '[ "$hall" -gt 5 ] && [ "$before" = "$after" ] && ! is hall state recognise'
  check other-zone-unmoved "gate is $(of gate state), looked at: $gate_before then $(of gate detected)" \
    eval 'is gate state recognise && within 20 above gate detected "$gate_before"'
  placard sign post hall-sign --by test
  check posted-not-inspected "hall is $(of hall state) ($(of hall reason))" eval '! is hall state recognise'
  placard sign inspect hall-sign --by test
  check posted-again "hall is $(within 20 is hall state recognise; of hall state)" is hall state recognise
}

# --- frames by the hundred, and no buffer lost ------------------------------------------------------------------------------------------
no_leak() {
  local frames pages later descriptors
  descriptors=$(find "/proc/$(pid)/fd" | wc -l)
  pages=$(awk '/VmRSS/ { print $2 }' "/proc/$(pid)/status")
  frames=$(of hall frames)
  within 120 above hall frames $((frames + 120))
  later=$(awk '/VmRSS/ { print $2 }' "/proc/$(pid)/status")
  check no-leak "$(($(of hall frames) - frames)) frames: memory $pages then $later KiB, $(mappings video0) buffers mapped, descriptors $descriptors then $(find "/proc/$(pid)/fd" | wc -l)" \
    eval '[ $((later - pages)) -lt 8192 ] && [ "$(mappings video0)" -le 8 ] && [ "$(find "/proc/$(pid)/fd" | wc -l)" -le $((descriptors + 3)) ] && above hall frames $((frames + 100))'
}

# --- cameras that fail ------------------------------------------------------------------------------------------------------------------
inject() { v4l2-ctl -d "/dev/$1" -c "$2"; }

# The device is back only when its last user has closed it, so a descriptor keeps it away.
unplugged() { # device, stream, the other stream
  local device=$1 stream=$2 other=$3 service seen meanwhile
  service=$(pid)
  exec 9<"/dev/$device"
  inject "$device" disconnect=1
  within 20 down "$stream"
  seen="$(of "$stream" health): $(of "$stream" health_detail)"
  meanwhile=$(arriving "$other" 2)
  check "unplugged-$stream" "$seen; meanwhile $meanwhile frames from $other" eval 'down "$stream" && [ "$meanwhile" -gt 3 ]'
  exec 9<&-
  check "plugged-in-$stream" "$(within 40 live "$stream"; of "$stream" health) after $(of "$stream" reconnects) reconnections, process $service then $(pid)" \
    eval 'live "$stream" && [ "$service" = "$(pid)" ] && within 20 is "$stream" state recognise'
}

# The driver taken from both cameras and given back.
unbound() {
  local service driver=/sys/bus/platform/drivers/vivid
  service=$(pid)
  echo vivid.0 >$driver/unbind
  within 30 down hall
  within 30 down gate
  check unbound "hall $(of hall health), gate $(of gate health), service $(systemctl is-active placard)" eval 'down hall && down gate && active'
  echo vivid.0 >$driver/bind
  udevadm settle
  check bound-again "hall $(within 60 live hall; of hall health), gate $(within 60 live gate; of gate health)" \
    eval 'both_live && [ "$service" = "$(pid)" ] && flows hall 4'
}

bad_frames() {
  local service refused
  service=$(pid)
  inject video0 inject_fatal_streaming_error=1
  within 15 above hall reconnects "$(of hall reconnects)"
  check eio-native "$(within 30 live hall; of hall health); $(of hall reconnects) reconnections; $(of hall health_detail)" eval 'live hall && flows hall 4'
  inject video1 inject_fatal_streaming_error=1
  sleep 3
  check eio-gstreamer "$(within 40 live gate; of gate health); $(of gate health_detail)" eval 'live gate && flows gate 4'
  for _ in 1 2 3 4 5; do inject video0 inject_v4l2_buf_flag_error=1; inject video1 inject_v4l2_buf_flag_error=1; done
  within 5 above hall refused 0
  refused=$(of hall refused)
  check damaged-frames "$refused of hall's frames refused" eval '[ "${refused:-0}" -gt 0 ] && both_live'
  for error in reqbufs qbuf streamon; do
    inject video0 "inject_vidioc_${error}_error=1"
    inject video0 inject_fatal_streaming_error=1
    sleep 2
    check "$error-refused" "$(within 30 live hall; of hall health) again" eval 'live hall && flows hall 4'
  done
  # Every buffer dropped: a camera that hangs.
  inject video0 percentage_of_dropped_buffers=100
  within 30 is hall health stalled
  check stalled "$(of hall health): $(of hall health_detail); gate $(of gate health)" eval 'down hall && live gate'
  inject video0 percentage_of_dropped_buffers=0
  check flows-again "$(within 30 live hall; of hall health)" live hall
  check survived "service $service then $(pid)" eval '[ "$service" = "$(pid)" ] && active'
  check nothing-left-behind "buffers mapped: video0 $(mappings video0), video1 $(mappings video1); descriptors: video0 $(descriptors video0), video1 $(descriptors video1)" \
    eval '[ "$(mappings video0)" -le 8 ] && [ "$(descriptors video0)" = 1 ] && [ "$(mappings video1)" -le 40 ] && [ "$(descriptors video1)" -le 2 ]'
}

# --- the service -----------------------------------------------------------------------------------------------------------------------
killed() {
  local before began recorded took
  before=$(pid)
  began=$(cut -d' ' -f1 /proc/uptime)
  recorded=$(events)
  # Tight enough for `hung`, from the next start on.
  watchdog 20
  systemctl daemon-reload
  systemctl kill -s KILL placard
  new_and_active() { active && [ "$(pid)" != "$before" ] && [ "$(pid)" != 0 ]; }
  within 90 new_and_active
  took=$(awk -v a="$began" -v b="$(cut -d' ' -f1 /proc/uptime)" 'BEGIN { printf "%.1f", b - a }')
  check killed-and-back "active again after $took s (emulated), process $before then $(pid)" new_and_active
  check journal-intact "$recorded events before, $(events) after" eval '[ "$recorded" -gt 0 ] && [ "$(events)" -ge "$recorded" ]'
  within 60 both_live
  check live-after-kill "hall $(of hall health) $(of hall state), gate $(of gate health) $(of gate state)" eval 'both_live && within 20 both_in recognise'
}

# One thread stands still in the middle of its work, all the others go on: a debugger holds it.
hung() {
  local before thread
  before=$(pid)
  watchdog 300
  systemctl daemon-reload
  thread=$(grep -lx detect-0 /proc/"$before"/task/*/comm | cut -d/ -f5)
  perl -e '
    my $thread = shift;
    for (1 .. 6000) {
      open(my $file, "<", "/proc/$thread/stat") or exit 1;
      last if <$file> =~ /\) R /;
      select(undef, undef, undef, 0.01);
    }
    syscall(101, 16, $thread + 0, 0, 0) == 0 or die "ptrace: $!"; # PTRACE_ATTACH
    # Until it was killed: while a debugger does not look, what it holds cannot go.
    select(undef, undef, undef, 0.2) while waitpid($thread, 0x40000001) != -1;' "$thread" & # __WALL, WNOHANG
  local debugger=$!
  within 90 new_and_active
  check hung-and-back "$(journalctl -q -u placard -o cat | grep -a -m1 -i 'watchdog timeout'); process $before then $(pid)" \
    eval 'new_and_active && journalctl -q -u placard -o cat | grep -aiq "watchdog timeout"'
  kill $debugger
  within 60 both_live
}

reloaded() {
  local service
  service=$(pid)
  sed -i 's/^detect_every/detect_evry/' /etc/placard/pipeline.toml
  systemctl reload placard
  refused() { journalctl -q -u placard -o cat -n 30 | grep -aq 'not reloaded'; }
  within 30 refused
  check broken-reload "$(systemctl is-active placard), process $service then $(pid); $(journalctl -q -u placard -o cat -n 30 | grep -a 'not reloaded' | tail -1)" \
    eval 'active && [ "$service" = "$(pid)" ] && both_live && is "" name appliance && refused'
  sed -e 's/^name = "appliance"/name = "appliance-2"/' /share/pipeline.toml >/etc/placard/pipeline.toml
  systemctl reload placard
  within 60 is "" name appliance-2
  check good-reload "pipeline is now $(of "" name), process $service then $(pid)" eval 'is "" name appliance-2 && [ "$service" = "$(pid)" ] && within 60 both_live'
}

hardened() {
  systemd-analyze security --no-pager placard.service >/tmp/security 2>&1
  grep -v '✓' /tmp/security
  local score
  score=$(sed -n 's/.*Overall exposure level for placard.service: \([0-9.]*\).*/\1/p' /tmp/security)
  check hardening "exposure $score" awk -v score="${score:-9}" 'BEGIN { exit !(score <= 1.5) }'
}

stopped() {
  systemctl stop placard
  check stopped "$(systemctl show -P Result placard), exit status $(systemctl show -P ExecMainStatus placard)" \
    eval '[ "$(systemctl show -P Result placard)" = success ] && [ "$(systemctl show -P ExecMainStatus placard)" = 0 ]'
  check no-panic "none in the journal" eval '! journalctl -q -u placard -o cat | grep -a panicked'
  journalctl -q -u placard --no-pager -o short-monotonic >/share/out/journal
}

unit_and_user
cameras
dark_without_signs
looks_with_signs
recognised
withdrawn_sign
no_leak
unplugged video0 hall gate
unplugged video1 gate hall
bad_frames
unbound
killed
hung
reloaded
hardened
stopped
echo "finished ok $(cut -d' ' -f1 /proc/uptime) s" >>"$results"
