// Package conflict finds what on a host keeps the daemon from doing its job,
// or does it, too: a logind that kills, PAM stacks without an audit id, control
// groups of the old kind, nobody who tells of logins. Judge is pure; Look
// reads files, /proc and one property over D-Bus. Nothing is changed here, and
// nothing is widened for it: what cannot be told apart is spared elsewhere.
package conflict

import (
	"context"
	"fmt"
	"strings"

	"xexit/internal/doctor"
)

// Facts are what was found out.
type Facts struct {
	Systemd bool     // it runs the host
	Logind  bool     // it runs
	Hooked  []string // PAM services that call xexit's PAM hook

	Kills       bool   // KillUserProcesses=yes
	KillsUnsure string // why that is not known; "": it is
	Keeps       int    // keep rules in the configuration

	Hierarchy Hierarchy
	NoFreezer bool // of the legacy one: that of v1 is not mounted
	NoAudit   bool // the kernel has no audit ids

	Unmarked []string // PAM services that open logins without pam_loginuid
	// Live logins, in words ("4 of alice (sshd)").
	WithoutAudit []string // the leader has none
	SharedAudit  []string // with the audit id of another live login
	Unsure       []string // what could not be read
}

// Hierarchy says which control groups a host has.
type Hierarchy string

// The hierarchies.
const (
	Unified Hierarchy = "unified" // cgroup v2 alone
	Hybrid  Hierarchy = "hybrid"  // v2, with controllers of v1 beside it
	Legacy  Hierarchy = "legacy"  // v1 alone, with systemd's own
	None    Hierarchy = "none"    // none that names logins
)

// Find looks at a host and says what is wrong with it, nothing if all is well.
func Find(ctx context.Context, h Host) []doctor.Finding { return Judge(h.Look(ctx)) }

// Judge says what of the facts is wrong, what follows, and what to do.
func Judge(f Facts) []doctor.Finding {
	var list []doctor.Finding
	add := func(level doctor.Level, key, text, means, do string) {
		list = append(list, doctor.Finding{Key: key, Level: level, Text: text, Means: means, Do: do})
	}
	f.groups(add)
	f.tellers(add)
	f.kills(add)
	f.audit(add)
	for _, text := range f.Unsure {
		add(doctor.Note, "host.unsure", text, "there may be a conflict here that is not seen", "")
	}
	return list
}

type adder func(level doctor.Level, key, text, means, do string)

func (f Facts) groups(add adder) {
	switch f.Hierarchy {
	case None:
		add(doctor.Problem, "cgroup.none", "no control groups are mounted that tell of logins (cgroup2, or systemd's own of cgroups v1)",
			"who is in a login cannot be told, so the daemon ends no login", "mount cgroup2 at /sys/fs/cgroup")
	case Legacy:
		means := "logins end by the freezer of v1, one process after the other; limits of what may live on are not enforced"
		if f.NoFreezer {
			means = "and their freezer is not mounted: what breeds in a login is ended one process after the other; limits of what may live on are not enforced"
		}
		add(doctor.Note, "cgroup.legacy", "the control groups are of the old kind only (cgroups v1)", means, "boot with systemd.unified_cgroup_hierarchy=1")
	case Hybrid:
		add(doctor.Note, "cgroup.hybrid", "the control groups are of both kinds (cgroups v1 beside v2)",
			"logins end as they should; limits of what may live on are not enforced", "boot with systemd.unified_cgroup_hierarchy=1")
	}
}

func (f Facts) tellers(add adder) {
	switch {
	case f.Logind:
		return
	case len(f.Hooked) > 0:
		add(doctor.Note, "logind.none", "logind does not run; logins are told by the PAM hook, of "+words(f.Hooked),
			"a login by any other way is not known to xexit, and not ended", "xexit-pam(8)")
		if !f.Systemd {
			add(doctor.Note, "systemd.none", "systemd does not run this host",
				"what sudo starts in a login ends with it, unless its init script or a pid file in /run makes it a service; "+
					"limits of keep rules are not enforced; nobody starts the daemon again if it dies", "xexit-pam(8)")
		}
	case f.Systemd:
		add(doctor.Problem, "logind.none", "logind does not run", "nobody tells of logins, so none is ended",
			"systemctl unmask systemd-logind, systemctl start systemd-logind; or the PAM hook, xexit-pam(8)")
	default:
		add(doctor.Problem, "logind.none", "systemd does not run this host, and no PAM stack calls xexit", "nobody tells of logins, so none is ended",
			"the PAM hook, xexit-pam(8)")
	}
}

func (f Facts) kills(add adder) {
	const do = "KillUserProcesses=no in /etc/systemd/logind.conf, then: systemctl restart systemd-logind"
	switch {
	case !f.Logind:
	case f.KillsUnsure != "":
		add(doctor.Note, "logind.unsure", "whether logind ends what a login leaves is not known: "+f.KillsUnsure, "", "")
	case f.Kills && f.Keeps > 0:
		add(doctor.Problem, "logind.kills", "logind itself ends what a login leaves (KillUserProcesses=yes)",
			"it takes what the keep rules let live, before xexit can move it away", do)
	case f.Kills:
		add(doctor.Note, "logind.kills", "logind itself ends what a login leaves (KillUserProcesses=yes)",
			"what is exempt from xexit (tmux, remote editors, batch jobs in a login) it takes as well, and exit scripts find it dead", do)
	}
}

func (f Facts) audit(add adder) {
	if f.NoAudit {
		add(doctor.Note, "audit.none", "this kernel gives logins no audit id", "what leaves the control group of its login is not found", "a kernel with CONFIG_AUDIT")
		return
	}
	const means = "what leaves the control group of such a login (systemd-run --scope) is not found, and lives on"
	if len(f.Unmarked) > 0 {
		add(doctor.Note, "pam.loginuid", "logins get no audit id from PAM, by "+words(f.Unmarked), means,
			"before the line that has pam_systemd, or includes it, in each of these files in /etc/pam.d: session required pam_loginuid.so")
	}
	if len(f.WithoutAudit) > 0 {
		add(doctor.Note, "audit.unset", "there are live logins without an audit id: "+words(f.WithoutAudit), means, "pam_loginuid in their PAM stack, from the next login on")
	}
	if len(f.SharedAudit) > 0 {
		add(doctor.Note, "audit.shared", "there are live logins that share an audit id: "+words(f.SharedAudit),
			"the audit id says nothing of them; their daemon was started in somebody's login, or a PAM stack lacks pam_loginuid",
			"start daemons by the service manager, and pam_loginuid in their PAM stack")
	}
}

// Doubtful is what there is to say of live logins, in words, that logind takes
// for background jobs although somebody came from elsewhere (member.Login's
// IsDoubtful). Which logins are taken on is logind's word, so they are not.
func Doubtful(logins []string) doctor.Finding {
	return doctor.Finding{
		Key: "login.background", Level: doctor.Note, Text: "logind takes logins from elsewhere for background jobs: " + words(logins),
		Means: "they are not ended; those on a display (xdm with XDMCP) should be",
		Do:    "for a display manager, in its file in /etc/pam.d, before the line that has pam_systemd, or includes it: session optional pam_systemd.so class=user type=x11",
	}
}

// maxWords is how many are named; the rest is counted.
const maxWords = 6

func words(list []string) string {
	if n := len(list); n > maxWords {
		return strings.Join(list[:maxWords], ", ") + fmt.Sprintf(" and %d more", n-maxWords)
	}
	return strings.Join(list, ", ")
}
