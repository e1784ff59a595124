package system

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"xexit/tests/machine"
)

// pamStacks: what the PAM stacks of display managers, as Debian has them, leave
// out: what doctor says of that, what follows, and that its remedy is one.
func pamStacks(t *testing.T, stage string) {
	h := host(t, machine.Debian13, stage)
	if err := h.configure("delegated = true\n" + config); err != nil {
		t.Fatal(err)
	}
	// His manager, below which a scope is, lives as long as this.
	beside, err := h.stay("bob", some())
	if err != nil {
		t.Fatal(err)
	}
	t.Run("xrdp without an audit id", h.xrdpWithoutAudit)
	t.Run("xdm without a class", h.xdmWithoutClass)
	if hurt := beside.hurt(); len(hurt) > 0 {
		t.Errorf("hurt: %q", hurt)
	}
}

// doctor is what it says to root.
func (h *Host) doctor(t *testing.T) string {
	t.Helper()
	text, err := h.ask("xexit doctor || :")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// xrdpWithoutAudit: what is in the control group goes; what has left it has
// nothing that tells whose it is, and stays. With pam_loginuid it goes, too.
func (h *Host) xrdpWithoutAudit(t *testing.T) {
	const none = "4294967295"
	for _, marked := range []bool{false, true} {
		if marked {
			if err := h.root("sed -i 's/^@include common-session$/session required pam_loginuid.so\\n&/' /etc/pam.d/xrdp-sesman; systemctl reload xexit.service"); err != nil {
				t.Fatal(err)
			}
		}
		if err := machine.Until(fmt.Sprintf("doctor speaks of xrdp's stack: %v", !marked), func() (bool, error) {
			text := h.doctor(t)
			return strings.Contains(text, "no audit id from PAM") && strings.Contains(text, "xrdp-sesman") == !marked, nil
		}); err != nil {
			t.Fatal(err)
		}
		l, err := h.Open(kindOf("xrdp"), "bob")
		if err != nil {
			t.Fatal(err)
		}
		audit, err := os.ReadFile(fmt.Sprintf("/proc/%d/sessionid", l.Session.Leader.Host))
		if err != nil || (string(audit) == none) == marked {
			t.Fatalf("pam_loginuid: %v; audit id %s, %v", marked, audit, err)
		}
		away := leftover("systemd-run --user --scope")
		lefts, err := h.leave(l, append(some(), away))
		if err != nil {
			t.Fatal(err)
		}
		if err := l.end(Logout); err != nil {
			t.Fatal(err)
		}
		if _, err := h.recorded(l.ID); err != nil {
			t.Fatal(err)
		}
		for _, one := range lefts {
			if one.Name == away.Name && !marked {
				if !one.ref.Alive() {
					t.Error("ended, and nothing tells whose it is")
				}
			} else if !one.ref.Gone(machine.Guard) {
				t.Errorf("pam_loginuid: %v; %s lives", marked, one.Name)
			}
		}
		if err := h.clear(l, lefts); err != nil {
			t.Fatal(err)
		}
	}
}

// xdmWithoutClass: logind takes a login by XDMCP for a background job. It is not
// taken on, so nobody of it is ended.
func (h *Host) xdmWithoutClass(t *testing.T) {
	if err := h.root(xdm + "\nsed -i '/pam_systemd.so class=user/d' /etc/pam.d/xdm"); err != nil {
		t.Fatal(err)
	}
	l, err := h.Open(kindOf("XDMCP"), "bob")
	if err != nil {
		t.Fatal(err)
	}
	if class := h.said(l.ID, "CLASS"); class != "background" {
		t.Errorf("class %q", class)
	}
	if err := machine.Until("doctor speaks of the login", func() (bool, error) {
		text := h.doctor(t)
		return strings.Contains(text, "background jobs: "+l.ID+" of bob (xdm)") && strings.Contains(text, "pam_systemd.so class=user type=x11"), nil
	}); err != nil {
		t.Error(err)
	}
	lefts, err := h.leave(l, some())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.end(Logout); err != nil {
		t.Fatal(err)
	}
	h.another(t) // so much has passed since
	all, err := h.early()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(of(all, l.ID, "begin")); n > 0 {
		t.Errorf("ended: %d records", n)
	}
	for _, one := range lefts {
		if !one.ref.Alive() {
			t.Errorf("%s is gone", one.Name)
		}
	}
	if err := h.clear(l, lefts); err != nil {
		t.Error(err)
	}
}

// leftover is the one of that name.
func leftover(name string) Leftover {
	for _, l := range Leftovers() {
		if l.Name == name {
			return l
		}
	}
	return Leftover{}
}
