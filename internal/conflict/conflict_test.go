package conflict

import (
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"xexit/internal/doctor"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	well := func(change func(*Facts)) Facts {
		f := Facts{Systemd: true, Logind: true, Hierarchy: Unified}
		change(&f)
		return f
	}
	for _, c := range []struct {
		name  string
		facts Facts
		want  []string // "LEVEL KEY"
		says  string
	}{
		{"all is well", well(func(*Facts) {}), nil, ""},
		{"no control groups", well(func(f *Facts) { f.Hierarchy = None }), []string{"problem cgroup.none"}, "mount cgroup2"},
		{"old control groups", well(func(f *Facts) { f.Hierarchy = Legacy }), []string{"note cgroup.legacy"}, "by the freezer"},
		{"old control groups, no freezer", well(func(f *Facts) { f.Hierarchy, f.NoFreezer = Legacy, true }), []string{"note cgroup.legacy"}, "not mounted"},
		{"both kinds", well(func(f *Facts) { f.Hierarchy = Hybrid }), []string{"note cgroup.hybrid"}, ""},
		{"logind kills", well(func(f *Facts) { f.Kills = true }), []string{"note logind.kills"}, "KillUserProcesses=no"},
		{"logind kills what is kept", well(func(f *Facts) { f.Kills, f.Keeps = true, 1 }), []string{"problem logind.kills"}, ""},
		{"logind does not answer", well(func(f *Facts) { f.KillsUnsure = "no bus" }), []string{"note logind.unsure"}, "no bus"},
		{"logind masked", well(func(f *Facts) { f.Logind = false }), []string{"problem logind.none"}, "unmask"},
		{"logind masked, the hook instead", well(func(f *Facts) { f.Logind, f.Hooked = false, []string{"sshd"} }), []string{"note logind.none"}, "sshd"},
		{"no systemd", Facts{Hierarchy: Unified}, []string{"problem logind.none"}, "xexit-pam(8)"},
		{"no systemd, the hook instead", Facts{Hierarchy: Unified, Hooked: []string{"sshd"}}, []string{"note logind.none", "note systemd.none"}, "PAM hook"},
		{"a stack without pam_loginuid", well(func(f *Facts) { f.Unmarked = []string{"xrdp-sesman"} }), []string{"note pam.loginuid"}, "xrdp-sesman"},
		{"a login without an audit id", well(func(f *Facts) { f.WithoutAudit = []string{"4 of alice (sshd)"} }), []string{"note audit.unset"}, "4 of alice"},
		{"two logins with one", well(func(f *Facts) { f.SharedAudit = strings.Fields("1 2 3 4 5 6 7 8") }), []string{"note audit.shared"}, "6 and 2 more"},
		{"a kernel without them", well(func(f *Facts) { f.NoAudit, f.Unmarked = true, []string{"x"} }), []string{"note audit.none"}, ""},
		{"unreadable", well(func(f *Facts) { f.Unsure = []string{"a", "b"} }), []string{"note host.unsure", "note host.unsure"}, ""},
	} {
		var got []string
		text := ""
		for _, f := range Judge(c.facts) {
			got = append(got, string(f.Level)+" "+f.Key)
			text += f.Text + f.Means + f.Do
			if f.Text == "" || f.Level == doctor.Problem && (f.Means == "" || f.Do == "") {
				t.Errorf("%s: %+v says too little", c.name, f)
			}
		}
		if !slices.Equal(got, c.want) || !strings.Contains(text, c.says) {
			t.Errorf("%s: %q, want %q; %s", c.name, got, c.want, text)
		}
	}
}

func TestDoubtful(t *testing.T) {
	t.Parallel()
	f := Doubtful([]string{"32 of bob (xdm)"})
	if f.Level != doctor.Note || f.Means == "" || !strings.Contains(f.Text, "32 of bob (xdm)") || !strings.Contains(f.Do, "/etc/pam.d") {
		t.Errorf("%+v", f)
	}
}

func files(pairs ...string) fs.FS {
	root := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		root[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return root
}

func TestStacks(t *testing.T) {
	t.Parallel()
	const common = "session [default=1] pam_permit.so\nsession\trequired\tpam_unix.so\n-session optional pam_systemd.so\n"
	root := files(
		"etc/pam.d/common-session", common,
		"etc/pam.d/sshd", "account required pam_nologin.so\nsession required pam_loginuid.so # so\n@include common-session\n",
		"etc/pam.d/xrdp-sesman", "#%PAM-1.0\nauth required pam_loginuid.so\n@include common-session\n",
		"etc/pam.d/redhat", "session include common-session\n",
		"etc/pam.d/redhat2", "session [success=1 default=ignore] \\\n /lib/security/pam_systemd.so\n",
		"etc/pam.d/su", "@include common-session\n",
		"etc/pam.d/lightdm-greeter", "session optional pam_systemd.so\n",
		"etc/pam.d/none", "session required pam_unix.so\n# @include common-session\n#session optional pam_systemd.so\n",
		"etc/pam.d/hooked", "session required pam_loginuid.so\nsession optional pam_exec.so quiet /usr/bin/xexit pam-session\n",
		"etc/pam.d/hooked2", "session optional pam_exec.so /usr/bin/xexit pam-session class=user\n",
		"etc/pam.d/other-exec", "session optional pam_exec.so /usr/local/bin/thing\n",
		"etc/pam.d/loop", "@include loop\n",
		"etc/pam.d/broken", "@include nowhere\n",
		"etc/pam.d/sshd.dpkg-old", "session optional pam_systemd.so\n",
		"usr/lib/pam.d/vendor", "session optional pam_systemd.so\n",
		"usr/lib/pam.d/sshd", "session optional pam_systemd.so\n",
	)
	s, err := readStacks(root)
	if err == nil || !strings.Contains(err.Error(), "service loop") || !strings.Contains(err.Error(), "service broken") {
		t.Errorf("%v: want what is wrong with loop and broken", err)
	}
	if got, want := s.unmarked(), []string{"hooked2", "redhat", "redhat2", "vendor", "xrdp-sesman"}; !slices.Equal(got, want) {
		t.Errorf("unmarked: %q, want %q", got, want)
	}
	if got, want := s.hooked(), []string{"hooked", "hooked2"}; !slices.Equal(got, want) {
		t.Errorf("hooked: %q, want %q", got, want)
	}
	if s, err := readStacks(files()); err != nil || len(s) != 0 {
		t.Errorf("no PAM: %v, %v", s, err)
	}
}

func TestOldControllers(t *testing.T) {
	t.Parallel()
	const v2 = "1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
	for text, want := range map[string]bool{
		v2: false,
		v2 + "2 0 0:2 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n":      false,
		v2 + "2 0 0:2 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n": true,
	} {
		if got := oldControllers(text); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

// TestFind: it comes to an end on any machine, and what it says can be read.
func TestFind(t *testing.T) {
	t.Parallel()
	f := ThisHost(0).Look(t.Context())
	if f.Hierarchy == "" && len(f.Unsure) == 0 {
		t.Errorf("%+v: nothing about the control groups", f)
	}
	for _, finding := range Judge(f) {
		t.Logf("%+v", finding)
	}
}
