package arch

// row says what one package may know.
type row struct {
	imports []string // packages of this module that it may import, by their path below xexit/
	deny    []string // other imports that it may not have; "net/" covers all below
	helpers []string // test helper packages that its production code may import
}

// pure packages decide; they do not touch the machine.
var pure = []string{"os", "os/", "net", "net/", "syscall", "golang.org/", "github.com/godbus/"}

// small is what the resident binary must not carry: in a Go binary the
// initialisation of every linked package runs, and its pages stay.
var small = []string{
	"github.com/", "golang.org/x/sys/unix", "net", "net/", "encoding/json", "log/slog", "log", "flag",
	"text/", "html/", "regexp", "os/user", "os/exec",
}

// binaryDeny is what cmd/xexit must not reach, however indirectly.
var binaryDeny = []string{
	"github.com/", "net", "net/http", "encoding/json", "log/slog", "regexp", "text/template",
}

// table has one row a package. A package without a row fails the test: think
// about what it may know before it knows it.
var table = map[string]row{
	"cmd/xexit": {imports: []string{
		"internal/watcher", "internal/display", "internal/session", "internal/linux", "internal/spelling",
	}, deny: small},
	"cmd/xexit-main": {imports: []string{"internal/cli"}},

	// Vocabulary and the edge to the kernel.
	"internal/session": {deny: pure},
	"internal/linux":   {},
	// Small rules that several have use for: text in, values out.
	"internal/logindefs": {deny: append([]string{"bufio", "regexp"}, pure...)},
	"internal/spelling":  {deny: append([]string{"fmt", "regexp"}, pure...)},

	// Adapters: each one kind of fact.
	"internal/proc":              {imports: []string{"internal/session", "internal/linux"}},
	"internal/proc/proctest":     {imports: []string{"internal/session", "internal/linux", "internal/proc"}},
	"internal/cgroup":            {imports: []string{"internal/linux"}},
	"internal/cgroup/cgrouptest": {},
	"internal/dirwatch":          {imports: []string{"internal/linux"}},
	"internal/logind":            {imports: []string{"internal/cgroup", "internal/dirwatch", "internal/member"}},
	"internal/logins":            {imports: []string{"internal/cgroup", "internal/member", "internal/logind", "internal/pamlogin"}, deny: []string{"github.com/"}},
	"internal/pamlogin": {imports: []string{
		"internal/session", "internal/linux", "internal/proc", "internal/cgroup", "internal/dirwatch", "internal/member", "internal/logind",
	}, deny: []string{"github.com/"}},
	"internal/registry":        {imports: []string{"internal/session", "internal/linux"}, deny: []string{"encoding/json", "net", "net/"}},
	"internal/history":         {imports: []string{"internal/session", "internal/linux", "internal/term"}},
	"internal/hook":            {imports: []string{"internal/session", "internal/linux", "internal/proc"}},
	"internal/config":          {imports: []string{"internal/session", "internal/policy", "internal/term", "internal/spelling"}},
	"internal/display":         {imports: []string{"internal/session", "internal/linux", "internal/display/x11", "internal/display/wayland"}, deny: small},
	"internal/display/wayland": {deny: append([]string{"os", "os/", "syscall"}, small...)},
	"internal/display/x11":     {imports: []string{"internal/session", "internal/linux"}, deny: small},
	"internal/display/displaytest": {imports: []string{
		"internal/session", "internal/linux", "internal/display", "internal/display/x11",
	}},
	"internal/term": {imports: []string{"internal/session", "internal/linux"}},

	// Who belongs, what is to become of them, and that it does.
	"internal/member": {imports: []string{"internal/session", "internal/linux", "internal/proc", "internal/registry"}},
	"internal/policy": {imports: []string{"internal/session"}, deny: append([]string{"time"}, pure...)},
	"internal/reap":   {imports: []string{"internal/session", "internal/linux", "internal/proc"}},
	"internal/engine": {imports: []string{"internal/session", "internal/policy"}, deny: pure},

	"internal/ipc": {imports: []string{"internal/session", "internal/linux", "internal/history"}},

	// Composition roots and the command line.
	"internal/displayd": {imports: []string{
		"internal/session", "internal/linux", "internal/proc", "internal/logind", "internal/display", "internal/display/wayland",
	}},
	"internal/watcher": {imports: []string{
		"internal/session", "internal/linux", "internal/proc", "internal/registry", "internal/display", "internal/display/x11", "internal/display/wayland",
		"internal/logindefs",
	}, deny: small},
	"internal/ending": {imports: []string{
		"internal/session", "internal/linux", "internal/proc", "internal/registry", "internal/member", "internal/policy",
		"internal/reap", "internal/hook", "internal/config", "internal/history", "internal/engine", "internal/cgroup",
		"internal/logind",
		"internal/logindefs", "internal/login",
		"internal/display/wayland",
	}},
	"internal/doctor": {imports: []string{"internal/session", "internal/term"}, deny: pure},
	"internal/conflict": {imports: []string{
		"internal/session", "internal/proc", "internal/cgroup", "internal/member", "internal/logind", "internal/doctor",
	}, deny: []string{"github.com/"}},
	"internal/doctor/gather": {imports: []string{
		"internal/session", "internal/linux", "internal/proc", "internal/registry", "internal/member", "internal/display",
		"internal/display/wayland", "internal/history", "internal/logindefs", "internal/doctor",
	}},
	"internal/login": {imports: []string{"internal/session"}, deny: pure},
	"internal/daemon": {imports: []string{
		"internal/session", "internal/linux", "internal/proc", "internal/member", "internal/config", "internal/history",
		"internal/cgroup", "internal/logindefs", "internal/login", "internal/logind", "internal/logins",
		"internal/ipc", "internal/conflict", "internal/doctor",
		"internal/displayd",
	}},
	"internal/demo": {
		imports: []string{
			"internal/session", "internal/linux", "internal/proc", "internal/registry", "internal/member", "internal/policy",
			"internal/reap", "internal/hook", "internal/config", "internal/history", "internal/engine", "internal/ending", "internal/term",
		},
		helpers: []string{"internal/display/displaytest"},
	},
	"internal/cli": {
		imports: []string{
			"internal/session", "internal/proc", "internal/registry", "internal/member", "internal/policy", "internal/reap",
			"internal/hook", "internal/config", "internal/history", "internal/engine", "internal/ending", "internal/demo",
			"internal/daemon", "internal/term", "internal/display", "internal/displayd", "internal/watcher", "internal/doctor", "internal/doctor/gather",
			"internal/pamlogin", "internal/ipc", "internal/logind", "internal/conflict",
		},
		deny: []string{"github.com/godbus/", "golang.org/x/sys/"},
	},

	"internal/arch": {},
}

// unixImporters may import golang.org/x/sys/unix.
var unixImporters = map[string]bool{"internal/linux": true}

// exceptions to the banned calls, by file and call, each with its reason.
var exceptions = map[string]string{
	"internal/linux/group.go golang.org/x/sys/unix.Kill": "a process group whose leader is our unreaped child, before kernel 6.9; one that a stopped member pins",
}
