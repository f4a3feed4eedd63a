//go:build linux

// Package image makes what a virtual machine boots: a kernel and a root file system
// in memory, of the packages of this machine's Debian. It is for tests.
//
//	apt-get download ──▶ dpkg -x ──▶ bzImage ─ xz ─▶ vmlinux
//	                             ──▶ modules, in the order to load them ─┐
//	                             ──▶ programs, libraries they need ──────┴─▶ base.cpio
//	programs of a test ─▶ a second archive; the kernel unpacks both ───────▶ initrd
//
// Nothing is installed but QEMU. What is made is kept in a directory that is named by
// the checksums of the packages and by this package's own source, so a new kernel is
// another directory, and who comes second finds it there. It is made in one step: a
// crash loses the time that it has taken.
//
// The kernel is not compressed, because QEMU would have to emulate what unpacks it:
// that takes longer than everything else.
package image
