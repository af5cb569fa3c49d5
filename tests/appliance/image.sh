#!/usr/bin/env bash
# Builds the guest that tests/appliance.rs boots: Debian bookworm with systemd, the vivid driver and GStreamer; everything but Placard
# itself, which reaches the guest through the shared folder, so that a change of the code never makes a new image.
#
# usage: image.sh OUT
#
# OUT receives vmlinux, initrd, root.ext4 and key. Two stages, each kept until what it is made from changes: packages (downloads; a few
# minutes) and image (half a minute). Needs root, mmdebstrap, mke2fs, cpio, zstd and xz; KVM is not used anywhere.
set -euo pipefail

out=$(realpath -m "${1:?usage: image.sh OUT}")
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out"

# What the service needs on a real box, the tools that the checks use (v4l2-ctl, jq, ps), and a busybox for the initramfs.
packages=(
  systemd systemd-sysv udev dbus kmod procps util-linux jq v4l-utils busybox-static
  gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-tools libgstrtspserver-1.0-0
)
# The cloud kernel has no vivid; this one has.
kernel_package=linux-image-amd64
# To reach the root file system (initramfs), and what the guest loads later.
boot_modules=(crc32c_generic virtio_pci virtio_blk ext4 overlay)
guest_modules=(9p 9pnet_virtio virtio_rng vivid)

sources=/etc/apt/sources.list.d/debian.sources
if ! grep -qs bookworm "$sources"; then
  sources=$out/debian.sources
  printf 'Types: deb\nURIs: http://deb.debian.org/debian\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' >"$sources"
fi

work=$(mktemp -d "$out/work.XXXXXX")
trap 'rm -rf "$work"' EXIT

# --- packages ----------------------------------------------------------------------------------------------------------------------
packages_key=$(printf '%s\n' "${packages[@]}" "$kernel_package" v1 | sha256sum | cut -c1-16)
tarball=$out/packages-$packages_key.tar
if [ ! -s "$tarball" ]; then
  rm -f "$out"/packages-*.tar
  # The kernel is downloaded and unpacked, not installed: nobody needs its boot loader hooks and its own initramfs.
  # shellcheck disable=SC2016  # the hook's own $1
  fetch_kernel='export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
    kernel=$(apt-cache depends '"$kernel_package"' | sed -n "s/.*Depends: \(linux-image-[0-9].*-amd64\)$/\1/p" | head -1)
    cd "$1/tmp" && apt-get -q download "$kernel" && dpkg-deb -x linux-image-*.deb kernel && rm linux-image-*.deb
    mv kernel/boot/vmlinuz-* ../boot/vmlinuz && mkdir -p ../usr/lib/modules && mv kernel/lib/modules/* ../usr/lib/modules/ && rm -r kernel'
  nice mmdebstrap --verbose --format=tar --variant=minbase --include="$(IFS=,; echo "${packages[*]}")" \
    --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Retries "3"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='force-unsafe-io' --customize-hook="$fetch_kernel" \
    --customize-hook='rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/usr/share/icons/*' \
    bookworm "$work/packages.tar" "$sources" >"$out/packages.log" 2>&1 || { tail -30 "$out/packages.log" >&2; exit 1; }
  mv "$work/packages.tar" "$tarball"
fi

# --- image -------------------------------------------------------------------------------------------------------------------------
key=$(cat "$here/image.sh" "$here"/guest/{agent,agent.service,vivid.conf,init} | sha256sum | cut -c1-16)-$packages_key
if [ -s "$out/root.ext4" ] && [ "$(cat "$out/key" 2>/dev/null)" = "$key" ]; then
  echo "image: $key is there"
  exit 0
fi
rm -f "$out/key"
root=$work/root
mkdir "$root"
# Device nodes come from the kernel.
tar -C "$root" -xf "$tarball" --exclude='./dev/*'
version=$(basename "$(echo "$root"/usr/lib/modules/*)")

# Of some 4000 modules only those that are needed, with what they depend on.
chroot "$root" depmod "$version"
closure() { # module... → paths below the modules' directory
  local module
  for module in "$@"; do
    chroot "$root" modprobe --set-version "$version" --show-depends "$module" | sed -n "s|^insmod .*/modules/$version/\\([^ ]*\\).*|\\1|p"
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
keep_modules "$work/boot" "${for_boot[@]}"
keep_modules "$work/guest" "${for_guest[@]}"

# The uncompressed kernel with its PVH entry: unpacking it inside an emulated machine would take longer than booting it.
offset=$(LC_ALL=C grep -aobP '\xfd7zXZ\x00' "$root/boot/vmlinuz" | head -1 | cut -d: -f1)
tail -c "+$((offset + 1))" "$root/boot/vmlinuz" | xz --decompress --single-stream --stdout >"$out/vmlinux" 2>/dev/null || true
[ "$(head -c 4 "$out/vmlinux" | tail -c 3)" = ELF ] || { echo "image: no kernel found in vmlinuz" >&2; exit 1; }
rm "$root/boot/vmlinuz"

initramfs=$work/initramfs
mkdir -p "$initramfs"/{bin,sbin,proc,sys,dev,lib,new,lower,upper}
install -m755 "$root/bin/busybox" "$initramfs/bin/busybox"
ln -s /bin/busybox "$initramfs/sbin/modprobe"
install -m755 "$here/guest/init" "$initramfs/init"
cp -r "$work/boot/modules" "$initramfs/lib/"
chroot "$root" depmod "$version" # busybox reads modules.dep only
mkdir "$root/initramfs-modules" && cp -r "$initramfs/lib" "$root/initramfs-modules/"
chroot "$root" depmod -b /initramfs-modules "$version"
cp "$root/initramfs-modules/lib/modules/$version"/modules.dep "$initramfs/lib/modules/$version/"
rm -r "$root/initramfs-modules"
(cd "$initramfs" && find . -print0 | cpio --null -o -H newc --quiet -R 0:0) | zstd -q -6 -f -o "$out/initrd"

rm -r "$root/usr/lib/modules" && mkdir "$root/usr/lib/modules" && cp -r "$work/guest/modules/." "$root/usr/lib/modules/"
chroot "$root" depmod "$version"
install -D -m755 "$here/guest/agent" "$root/usr/local/sbin/appliance-agent"
install -D -m644 "$here/guest/agent.service" "$root/etc/systemd/system/appliance-agent.service"
install -D -m644 "$here/guest/vivid.conf" "$root/etc/modprobe.d/vivid.conf"
ln -s ../appliance-agent.service "$root/etc/systemd/system/multi-user.target.wants/appliance-agent.service"
# What a test box does not need, and an emulated one pays dearly for.
for unit in getty@.service serial-getty@.service systemd-timesyncd.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
  e2scrub_all.timer e2scrub_reap.service fstrim.timer systemd-pstore.service; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
chroot "$root" systemctl set-default -q multi-user.target
echo appliance >"$root/etc/hostname"
: >"$root/etc/machine-id"
mkdir -p "$root/share"

size=$(($(du -sm "$root" | cut -f1) * 115 / 100 + 64))
rm -f "$out/root.ext4"
mke2fs -q -t ext4 -d "$root" "$out/root.ext4" "${size}M"
echo "$key" >"$out/key"
echo "image: made $key ($(du -m "$out/root.ext4" | cut -f1) MiB)"
