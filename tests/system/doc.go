// Package system proves system mode where it has to hold: on Debian as a real
// systemd boots it, with logind, PAM, sshd, display managers and D-Bus. Every
// kind of login is opened, leaves behind all that a login can leave behind, and
// is ended in every way that there is; who must be gone then and who must live
// is written in leftovers.go before anything is run. Rivals go through the same.
//
// What a container is made of belongs to package machine; ways to resist being
// ended, to package gauntlet.
package system
