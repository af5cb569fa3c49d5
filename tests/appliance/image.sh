#!/usr/bin/env bash
# Builds the guest that tests/appliance.rs boots: systemd, the kernel's vivid driver and GStreamer, of the same release as this machine, so
# that the program built here runs there. Everything but Placard itself, which reaches the guest through the shared folder; a change of
# the code never makes a new image.
#
# usage: image.sh OUT
#
# OUT receives vmlinux, initrd, root.ext4 and key; packages stay in OUT/archives. They come from wherever this machine's apt gets its own, are
# unpacked and not configured: their scripts would take minutes and do nothing that matters here. GStreamer is copied from this machine,
# the few plugins that a V4L2 camera needs. Needs root, apt, mke2fs, cpio, zstd, xz and pkg-config; KVM is not used anywhere.
set -euo pipefail

out=$(realpath -m "${1:?usage: image.sh OUT}")
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out/archives/partial"

packages=(
  base-files base-passwd libc-bin bash dash coreutils diffutils findutils grep sed mawk perl-base procps util-linux mount
  systemd systemd-sysv udev kmod
  jq v4l-utils    # what the checks use
  busybox-static  # the initramfs
)
# Dependencies that only scripts of packages have.
unneeded='^(perl|perl-modules-.*|libperl5.*|lib.*-perl|usrmerge|dpkg|debconf|adduser|tar|libdb5.*|libgdbm.*)_'
# The kernels for clouds have no vivid; these have.
kernels=(linux-image-amd64 linux-image-generic)
# To reach the root file system (initramfs), and what the guest loads later.
boot_modules=(crc32c_generic virtio_pci virtio_blk ext4 overlay)
guest_modules=(9p 9pnet_virtio virtio_rng vivid)
plugins=(coreelements app video4linux2 videoconvertscale videoconvert videoscale typefindfunctions playback)

plugin_directory=$(pkg-config --variable=pluginsdir gstreamer-1.0)
scanner=$(pkg-config --variable=pluginscannerdir gstreamer-1.0)/gst-plugin-scanner

key=$(cat "$here/image.sh" "$here"/guest/{agent,agent.service,vivid.conf,init} /etc/os-release "$plugin_directory/libgstvideo4linux2.so" | sha256sum | cut -c1-16)
if [ -s "$out/root.ext4" ] && [ "$(cat "$out/key" 2>/dev/null)" = "$key" ]; then
  echo "image: $key is there"
  exit 0
fi
rm -f "$out/key"
work=$(mktemp -d "$out/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/root

# --- packages ----------------------------------------------------------------------------------------------------------------------
# As apt would install them on a machine that has none.
: >"$work/none"
apt() {
  apt-get -qq -y -o Dir::State::status="$work/none" -o Dir::Cache::archives="$out/archives" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
    -o APT::Install-Recommends=false -o APT::Sandbox::User=root -o Acquire::Retries=3 -o Debug::NoLocking=1 "$@"
}
names() { sed -n "s/^'[^']*' \([^ ]*\.deb\) .*/\1/p"; }
find_kernel() {
  local meta
  for meta in "${kernels[@]}"; do
    kernel=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "$meta" 2>/dev/null |
      grep -oE 'linux-(image|modules|modules-extra)-[0-9][0-9a-z.+~-]*-(amd64|generic)' | sort -u || true)
    [ -z "$kernel" ] || return 0
  done
  echo "image: apt knows none of ${kernels[*]}" >&2
  return 1
}
fetch() {
  find_kernel || return
  # apt names only what it does not have yet: asked in an empty directory it names everything.
  mkdir -p "$work/empty/partial"
  apt -o Dir::Cache::archives="$work/empty" --print-uris install "${packages[@]}" | names | grep -Ev "$unneeded" >"$work/debs" || return
  # shellcheck disable=SC2086  # several names
  (cd "$work/empty" && apt --print-uris download $kernel) | names >"$work/kernel-debs" || return
  # shellcheck disable=SC2086
  (cd "$out/archives" && apt download $kernel) && apt --download-only install "${packages[@]}"
}
# The lists may be missing (a fresh container) or older than the archive.
fetch >"$out/packages.log" 2>&1 || { apt-get -qq update && fetch >"$out/packages.log" 2>&1; } || { tail -30 "$out/packages.log" >&2; exit 1; }

# One tree, /usr merged as every release since 2023 has it.
mkdir -p "$root"/usr/{bin,sbin,lib,lib64} "$root"/{dev,proc,sys,run,tmp,share}
for directory in bin sbin lib lib64; do ln -s "usr/$directory" "$root/$directory"; done
unpack() { # deb, options of tar...
  dpkg-deb --fsys-tarfile "$out/archives/$1" | tar -C "$root" -x --keep-directory-symlink "${@:2}"
}
while read -r deb; do
  unpack "$deb" --exclude='./usr/share/man/*' --exclude='./usr/share/doc/*' --exclude='./usr/share/locale/*' --exclude='./usr/share/icons/*'
done <"$work/debs"
while read -r deb; do
  unpack "$deb" --exclude='*/kernel/drivers/net/*' --exclude='*/kernel/drivers/gpu/*' --exclude='*/kernel/drivers/scsi/*' \
    --exclude='*/kernel/drivers/infiniband/*' --exclude='*/kernel/sound/*' --exclude='./usr/share/*'
done <"$work/kernel-debs"
version=$(basename "$(echo "$root"/usr/lib/modules/*)")

# What the packages' scripts would have done, as far as it is needed.
cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
chroot "$root" systemd-sysusers
ln -sf mawk "$root/usr/bin/awk"

# GStreamer and whatever Placard is linked with.
scratch=("$scanner")
for plugin in "${plugins[@]}"; do
  [ ! -e "$plugin_directory/libgst$plugin.so" ] || scratch+=("$plugin_directory/libgst$plugin.so")
done
for library in libgstrtspserver-1.0.so.0 libgstapp-1.0.so.0 libstdc++.so.6; do
  scratch+=("$(/sbin/ldconfig -p | sed -n "s|.*$library .*x86-64.* => ||p" | head -1)")
done
{ printf '%s\n' "${scratch[@]}"; ldd "${scratch[@]}" | grep -oE '/[^ ]+\.so[^ :]*' || true; } | sort -u | while read -r file; do
  [ -e "$root$file" ] || install -D -m755 "$file" "$root$file"
done
chroot "$root" ldconfig

# --- kernel and initramfs --------------------------------------------------------------------------------------------------------------
# Of some 4000 modules only those that are needed, with what they depend on; unpacked, for busybox cannot.
find "$root/usr/lib/modules/$version" -name '*.ko.xz' -exec xz --decompress {} +
find "$root/usr/lib/modules/$version" -name '*.ko.zst' -exec zstd -q --decompress --rm {} +
chroot "$root" depmod "$version"
closure() { # module... → paths below the modules' directory
  local module
  for module in "$@"; do
    { chroot "$root" modprobe --set-version "$version" --show-depends "$module" 2>/dev/null || true; } |
      sed -n "s|^insmod .*/modules/$version/\\([^ ]*\\).*|\\1|p"
  done | sort -u
}
keep_modules() { # destination, paths...
  local to=$1/modules/$version path
  shift
  mkdir -p "$to"
  for path in modules.order modules.builtin modules.builtin.modinfo "$@"; do
    install -D -m644 "$root/usr/lib/modules/$version/$path" "$to/$path"
  done
}
mapfile -t for_boot < <(closure "${boot_modules[@]}")
mapfile -t for_guest < <(closure "${boot_modules[@]}" "${guest_modules[@]}")
[[ " ${for_guest[*]} " == */vivid.ko* ]] || { echo "image: kernel $version has no vivid" >&2; exit 1; }
keep_modules "$work/boot" "${for_boot[@]}"
keep_modules "$work/guest" "${for_guest[@]}"

# The uncompressed kernel with its PVH entry, if it is found: unpacking it inside an emulated machine takes longer than booting it.
unpacked() { # magic, program...
  local offset
  for offset in $(LC_ALL=C grep -aobP "$1" "$root"/boot/vmlinuz-* | cut -d: -f1 | head -5); do
    tail -c "+$((offset + 1))" "$root"/boot/vmlinuz-* | "${@:2}" >"$out/vmlinux" 2>/dev/null || true
    [ "$(head -c 4 "$out/vmlinux" | tail -c 3 | tr -d '\0')" != ELF ] || return 0
  done
  return 1
}
unpacked '\xfd7zXZ\x00' xz --decompress --single-stream --stdout || unpacked '\x28\xb5\x2f\xfd' zstd -q --decompress --stdout ||
  unpacked '\x1f\x8b\x08' gzip --decompress --stdout || cp "$root"/boot/vmlinuz-* "$out/vmlinux"
rm "$root"/boot/*

initramfs=$work/initramfs
mkdir -p "$initramfs"/{bin,sbin,proc,sys,dev,lib,new,lower,upper}
install -m755 "$root/usr/bin/busybox" "$initramfs/bin/busybox"
ln -s /bin/busybox "$initramfs/sbin/modprobe"
install -m755 "$here/guest/init" "$initramfs/init"
cp -r "$work/boot/modules" "$initramfs/lib/"
mkdir "$root/initramfs-modules" && cp -r "$initramfs/lib" "$root/initramfs-modules/"
chroot "$root" depmod -b /initramfs-modules "$version" # busybox reads modules.dep only
cp "$root/initramfs-modules/lib/modules/$version"/modules.dep "$initramfs/lib/modules/$version/"
rm -r "$root/initramfs-modules"
(cd "$initramfs" && find . -print0 | cpio --null -o -H newc --quiet -R 0:0) | zstd -q -3 -f -o "$out/initrd"

# --- the root file system ----------------------------------------------------------------------------------------------------------------
rm -r "$root/usr/lib/modules" && mkdir "$root/usr/lib/modules" && cp -r "$work/guest/modules/." "$root/usr/lib/modules/"
chroot "$root" depmod "$version"
install -D -m755 "$here/guest/agent" "$root/usr/local/sbin/appliance-agent"
install -D -m644 "$here/guest/agent.service" "$root/etc/systemd/system/appliance-agent.service"
install -D -m644 "$here/guest/vivid.conf" "$root/etc/modprobe.d/vivid.conf"
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -s ../appliance-agent.service "$root/etc/systemd/system/multi-user.target.wants/appliance-agent.service"
# What a test box does not need, and an emulated one pays dearly for.
for unit in getty@.service serial-getty@.service systemd-timesyncd.service systemd-networkd.service systemd-resolved.service \
  systemd-logind.service systemd-pstore.service systemd-hwdb-update.service systemd-journal-catalog-update.service ldconfig.service \
  systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-update-done.service systemd-random-seed.service; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
echo appliance >"$root/etc/hostname"
# Not the first boot: nothing is to be set up.
echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
touch "$root/etc/.updated" && mkdir -p "$root/var" && touch "$root/var/.updated"

size=$(($(du -sm "$root" | cut -f1) * 115 / 100 + 64))
rm -f "$out/root.ext4"
mke2fs -q -t ext4 -d "$root" "$out/root.ext4" "${size}M"
echo "$key" >"$out/key"
echo "image: made $key ($(du -m "$out/root.ext4" | cut -f1) MiB)"
