package arch

import (
	"strings"
	"testing"
)

// Each rule is shown to fire, and to stay quiet beside what it must not take
// for a fault.
func TestRulesFire(t *testing.T) {
	rows := map[string]row{
		"internal/a":     {imports: []string{"internal/b"}, deny: []string{"net", "net/"}},
		"internal/linux": {},
		"internal/demo":  {helpers: []string{"internal/xtest"}},
	}
	imports := func(s source) []string { return checkImports(s, rows) }
	mutation := func(s source) []string { return checkMutation([]source{s}) }
	doc := func(s source) []string { return checkDoc(s.dir, []source{s}) }
	for name, c := range map[string]struct {
		check     func(source) []string
		dir, file string
		text      string
		want      string // part of the one finding; "" is none
	}{
		"allowed import":        {imports, "internal/a", "a.go", `import "xexit/internal/b"`, ""},
		"import outside row":    {imports, "internal/a", "a.go", `import "xexit/internal/c"`, "may not import internal/c"},
		"denied import":         {imports, "internal/a", "a.go", `import "net"`, "may not import net"},
		"denied below":          {imports, "internal/a", "a.go", `import "net/http"`, "may not import net/http"},
		"like a denied one":     {imports, "internal/a", "a.go", `import "network"`, ""},
		"no row":                {imports, "internal/z", "z.go", ``, "no row"},
		"unix elsewhere":        {imports, "internal/a", "a.go", `import "golang.org/x/sys/unix"`, "belong in internal/linux"},
		"unix at the edge":      {imports, "internal/linux", "l.go", `import "golang.org/x/sys/unix"`, ""},
		"helper in production":  {imports, "internal/a", "a.go", `import "xexit/internal/xtest"`, "test helper"},
		"helper in a test":      {imports, "internal/a", "a_test.go", `import "xexit/internal/xtest"`, ""},
		"helper in the demo":    {imports, "internal/demo", "d.go", `import "xexit/internal/xtest"`, ""},
		"sleep":                 {checkCalls, "internal/a", "a.go", `import "time"; func f() { time.Sleep(1) }`, "time.Sleep is banned"},
		"sleep renamed":         {checkCalls, "internal/a", "a.go", `import zzz "time"; func f() { zzz.Sleep(1) }`, "time.Sleep is banned"},
		"sleep in a test":       {checkCalls, "internal/a", "a_test.go", `import "time"; func f() { time.Sleep(1) }`, "time.Sleep is banned"},
		"another's sleep":       {checkCalls, "internal/a", "a.go", `func f(time clock) { time.Sleep(1) }`, ""},
		"find process":          {checkCalls, "internal/a", "a.go", `import "os"; var _ = os.FindProcess`, "os.FindProcess is banned"},
		"kill":                  {checkCalls, "internal/a", "a.go", `import "syscall"; func f() { syscall.Kill(1, 9) }`, "syscall.Kill is banned"},
		"kill at the edge":      {checkCalls, "internal/linux", "l.go", `import "golang.org/x/sys/unix"; func f() { unix.Kill(1, 9) }`, "unix.Kill is banned"},
		"kill by exception":     {checkCalls, "internal/linux", "group.go", `import "golang.org/x/sys/unix"; func f() { unix.Kill(-1, 9) }`, ""},
		"kill in a test":        {checkCalls, "internal/a", "a_test.go", `import "syscall"; func f() { syscall.Kill(1, 9) }`, ""},
		"os.Process kill":       {checkCalls, "internal/a", "a.go", `func f(c cmd) { c.Process.Kill() }`, "(*os.Process).Kill is banned"},
		"os.Process signal":     {checkCalls, "internal/a", "a.go", `func f(c cmd) { c.Process.Signal(9) }`, "(*os.Process).Signal is banned"},
		"a reference's signal":  {checkCalls, "internal/a", "a.go", `func f(r ref) { r.Signal(9) }`, ""},
		"init":                  {checkState, "internal/a", "a.go", `func init() {}`, "init function"},
		"method called init":    {checkState, "internal/a", "a.go", `func (x t) init() {}`, ""},
		"counter":               {checkState, "internal/a", "a.go", `var n int`, "package variable n"},
		"made map":              {checkState, "internal/a", "a.go", `var m = make(map[string]int)`, "package variable m"},
		"shared pointer":        {checkState, "internal/a", "a.go", `var p = &t{}`, "package variable p"},
		"seam":                  {checkState, "internal/a", "a.go", `var now = time.Now`, "package variable now"},
		"error, table, pattern": {checkState, "internal/a", "a.go", `var e, t, r = errors.New("x"), []int{1}, regexp.MustCompile("x")`, ""},
		"embedded":              {checkState, "internal/a", "a.go", "//go:embed x\nvar x string", ""},
		"interface check":       {checkState, "internal/a", "a.go", `var _ i = (*t)(nil)`, ""},
		"assigned":              {mutation, "internal/a", "a.go", `var t = []int{1}; func f() { t = nil }`, "package variable t"},
		"element assigned":      {mutation, "internal/a", "a.go", `var t = []int{1}; func f() { t[0] = 2 }`, "package variable t"},
		"address taken":         {mutation, "internal/a", "a.go", `var t = x{1}; func f() { g(&t) }`, "package variable t"},
		"incremented":           {mutation, "internal/a", "a.go", `var t = 1; func f() { t++ }`, "package variable t"},
		"a local of its name":   {mutation, "internal/a", "a.go", `var t = []int{1}; func f() { t := 2; t = 3 }`, ""},
		"no comment":            {doc, "internal/a", "a.go", ``, "no package comment"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := parse(c.dir, c.file, []byte("package a\n"+c.text))
			if err != nil {
				t.Fatal(err)
			}
			got := c.check(s)
			switch {
			case c.want == "" && len(got) > 0:
				t.Errorf("found %q, want nothing", got)
			case c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)):
				t.Errorf("found %q, want one with %q", got, c.want)
			}
		})
	}
}

func TestDocRuleKnowsBothForms(t *testing.T) {
	for dir, text := range map[string]string{
		"internal/a": "// Package a is here.\npackage a",
		"cmd/x":      "// Command x runs.\npackage main",
	} {
		s, err := parse(dir, "f.go", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if bad := checkDoc(dir, []source{s}); len(bad) > 0 {
			t.Error(bad)
		}
	}
}
