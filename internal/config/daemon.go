package config

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Daemon is about what root ends: which logins `xexit daemon` takes on, and
// what it spares whenever a whole login is ended.
type Daemon struct {
	Types     []string // of logins, out of LoginTypes
	AuditOnly bool     // everything is noticed, planned and recorded, and nothing ended
	Exempt    []string // out of Exemptions
	// OtherUsers: a login that logind does not know ends with what runs in it as
	// another user.
	OtherUsers bool
}

// Types of logins as the configuration names them. See Daemon.TakesOn.
const (
	TypeX11     = "x11"
	TypeWayland = "wayland"
	TypeSSH     = "ssh"
	TypeTTY     = "tty"
	TypeOther   = "other"
)

// LoginTypes are all of them.
func LoginTypes() []string { return []string{TypeX11, TypeWayland, TypeSSH, TypeTTY, TypeOther} }

// What is spared when root ends a whole login. How each is recognised is
// package member's.
const (
	ExemptMosh       = "mosh"
	ExemptVSCode     = "vscode-server"
	ExemptSSHMaster  = "ssh-master"
	ExemptSlurm      = "slurm"
	ExemptPBS        = "pbs"
	ExemptFlux       = "flux"
	ExemptContainers = "containers"
	ExemptServices   = "services"
)

// Exemptions are all of them, which is also the default.
func Exemptions() []string {
	return []string{ExemptMosh, ExemptVSCode, ExemptSSHMaster, ExemptSlurm, ExemptPBS, ExemptFlux, ExemptContainers, ExemptServices}
}

// TakesOn reports whether logins of a kind are taken on: by logind's Type and
// Service (sd_session_get_type(3), sd_session_get_service(3)). A login with a
// display is what its Type says, whoever let it in; of the others those by
// sshd are ssh, whether they have a terminal or not.
func (d Daemon) TakesOn(loginType, service string) bool {
	kind := TypeOther
	switch {
	case loginType == TypeX11 || loginType == TypeWayland:
		kind = loginType
	case service == "sshd":
		kind = TypeSSH
	case loginType == TypeTTY:
		kind = TypeTTY
	}
	return slices.Contains(d.Types, kind)
}

// Display is about the displays that the daemon watches.
type Display struct {
	OnLost    OnLost
	Reconnect time.Duration // from a display's loss to the end, in case it comes back
	// When a display is lost, as the flags of those names have it for one user.
	LostAfter  time.Duration // silence of its link
	BlindAfter time.Duration // missing answers where nothing else is known
	HungAfter  time.Duration // the same for a server that is there; 0: never
}

// OnLost says what becomes of a login whose display is gone.
type OnLost string

// What may become of it.
const (
	LostAuto   OnLost = "auto" // end where it was the login's own display, ignore one that a shell's ssh forwards
	LostEnd    OnLost = "end"
	LostIgnore OnLost = "ignore"
)

func (d *decoder) daemon() map[string]field {
	c := &d.config.Daemon
	return map[string]field{
		"types":       d.types(&c.Types),
		"audit-only":  d.boolean(&c.AuditOnly),
		"other-users": d.boolean(&c.OtherUsers),
		"exempt":      d.list(&c.Exempt, `["mosh", "slurm"]`, true, oneWordOf("exemption", Exemptions())),
	}
}

func (d *decoder) display() map[string]field {
	c := &d.config.Display
	return map[string]field{
		"on-lost":     d.onLost(&c.OnLost),
		"reconnect":   d.duration(&c.Reconnect, 0, 24*time.Hour, "30s"),
		"lost-after":  d.duration(&c.LostAfter, leastLost, 24*time.Hour, "15s"),
		"blind-after": d.duration(&c.BlindAfter, leastLost, 24*time.Hour, "60s"),
		"hung-after":  d.duration(&c.HungAfter, 0, 24*time.Hour, "10m"),
	}
}

// leastLost is where a wrong unit begins: within less no other end can answer
// that is any distance away, and each display of the host would be lost.
const leastLost = time.Second

// types takes the list of login types. An empty one would be a daemon that
// does nothing, and looks as if it did.
func (d *decoder) types(to *[]string) field {
	take := d.list(to, `["x11", "wayland"]`, true, oneWordOf("type of login", LoginTypes()))
	return func(key string, n *node) {
		if n.kind == kindArray && len(n.items) == 0 {
			d.problem(n, key, "the list is empty", "name the types of logins that are taken on: "+oneOf(LoginTypes()))
			return
		}
		take(key, n)
	}
}

func oneWordOf(what string, known []string) check {
	return func(text string) (problem, remedy string) {
		if !slices.Contains(known, text) {
			return fmt.Sprintf("unknown %s %q", what, text), choose(text, known)
		}
		return "", ""
	}
}

func (d *decoder) onLost(to *OnLost) field {
	valid := oneWordOf("answer to a lost display", []string{string(LostAuto), string(LostEnd), string(LostIgnore)})
	return func(key string, n *node) {
		if !d.is(key, n, kindString, strconv.Quote(string(LostAuto))) {
			return
		}
		if what, remedy := valid(n.text); what != "" {
			d.problem(n, key, what, remedy)
			return
		}
		*to = OnLost(n.text)
	}
}
