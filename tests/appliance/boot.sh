#!/usr/bin/env bash
# Boots the guest once, lets it run SHARE/checks.sh, and returns when it has switched itself off.
#
# usage: boot.sh IMAGE_DIRECTORY SHARE SECONDS
#
# Emulation only (TCG), so that it runs the same wherever the build runs: nested virtualisation is rarely there and often broken.
# SHARE/out receives log, status, results and the console's text.
set -euo pipefail

image=${1:?usage: boot.sh IMAGE_DIRECTORY SHARE SECONDS}
share=${2:?}
limit_s=${3:?}
mkdir -p "$share/out"

# tsc=unstable clocksource=hpet: on a busy host the time stamp counter is calibrated wrongly, and the guest's clock runs at twice the speed.
# no_timer_check: the check of the timer fails for the same reason, and the kernel stops.
kernel_options="console=ttyS0 quiet loglevel=4 panic=-1 no_timer_check tsc=unstable clocksource=hpet mitigations=off
  systemd.show_status=0 systemd.log_level=notice"

# Nehalem: a processor without AVX, so that the portable paths run too. GUEST_CPU=max emulates everything QEMU can.
exec timeout --kill-after=5 "$limit_s" qemu-system-x86_64 -machine q35 -accel tcg,thread=multi,tb-size=512 -cpu "${GUEST_CPU:-Nehalem}" -smp 2 -m 2048 \
  -nodefaults -no-user-config -nic none -display none -no-reboot -serial "file:$share/out/console" \
  -kernel "$image/vmlinux" -initrd "$image/initrd" -append "$(echo $kernel_options)" \
  -drive "file=$image/root.ext4,format=raw,if=none,id=root,readonly=on,cache=unsafe" -device virtio-blk-pci,drive=root \
  -device virtio-rng-pci \
  -fsdev "local,id=share,path=$share,security_model=none,multidevs=remap" -device virtio-9p-pci,fsdev=share,mount_tag=share </dev/null
