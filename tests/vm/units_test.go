package vm

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"xexit/tests/machine"
	"xexit/tests/vm/guest"
)

// edge are the packages that fall back where a kernel cannot do what they ask,
// and which of their tests matter for that ("": all). They know of no version.
func edge() map[string]string {
	return map[string]string{
		"linux": "", "cgroup": "",
		"hook": "Kill|Asking|Storm|Nested|Stage|AfterTheRun|NoNewPrivs", // the shield
	}
}

// unit is where the machine has the tests of a package.
func unit(name string) string {
	return filepath.Join(filepath.Dir(machine.Program), "unit-"+name)
}

// stageUnits builds them.
func stageUnits(t *testing.T, staged, name string) {
	t.Helper()
	build := exec.Command("go", "test", "-c", "-buildvcs=false", "-ldflags", "-s -w", "-o", staged+unit(name), "./internal/"+name)
	build.Dir = "../.."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the tests of %s: %v\n%s", name, err, out)
	}
}

// checkUnits: what xexit asks of the kernel, by the unit tests of the packages
// that ask it, as root.
func (l *lab) checkUnits() {
	l.must(l.Ask("Mount", guest.Mount{Kind: "cgroup2", Dir: groups}, new(bool)))
	defer func() { l.must(l.Ask("Unmount", groups, new(bool))) }()
	for _, name := range slices.Sorted(maps.Keys(edge())) {
		var r guest.Result
		l.must(l.ask(2*Guard, "Run", guest.Command{Argv: []string{unit(name), "-test.v", "-test.timeout=100s", "-test.run", edge()[name]}, User: "root"}, &r))
		ran := len(regexp.MustCompile(`(?m)^--- PASS`).FindAllString(r.Output, -1))
		skipped := regexp.MustCompile(`(?m)^--- SKIP: .*`).FindAllString(r.Output, -1)
		l.t.Logf("%s: %d tests passed, skipped: %s", name, ran, strings.Join(skipped, " "))
		if r.Status != 0 || ran == 0 {
			l.t.Errorf("%s: exit status %d\n%s", name, r.Status, r.Output)
		}
	}
}
