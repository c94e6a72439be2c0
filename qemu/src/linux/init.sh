#!/bin/sh
# The first process of the Linux guest: loads the modules of /modules, runs /program, ends the machine.
#
# The machine ends as Weir's does: a line {"type":"end"} on the second serial port, and QEMU's exit status says how
# it went (10h well, 11h the program failed). Where this script itself dies, the kernel panics, and QEMU ends
# otherwise.
/bin/busybox --install -s /bin
# Everybody may write to the root folder of this file tree by default; DPDK would not load drivers from there.
chmod 755 /
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
stty -F /dev/ttyS1 raw -echo

# Ends the machine with code $1; \ooo is the same number for printf.
end() {
    echo "{\"type\":\"end\",\"code\":$1}" > /dev/ttyS1
    stty -F /dev/ttyS1 raw
    printf "\\$(printf %o "$1")" | dd of=/dev/port bs=1 seek=$((exit_port)) 2> /dev/null
    # QEMU is gone by now.
    sleep 10
}

# Gives every network device, and none other, to vfio-pci: no driver of the kernel is loaded for them.
network_to_vfio() {
    for device in /sys/bus/pci/devices/*; do
        case $(cat "$device/class") in
        0x02*)
            echo vfio-pci > "$device/driver_override"
            echo "${device##*/}" > /sys/bus/pci/drivers_probe
            ;;
        esac
    done
}

for module in $(ls /modules); do
    insmod "/modules/$module" || end 17
done
. /program && end 16
end 17
