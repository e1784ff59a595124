package wayland

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// ErrBadName reports a text that names no Wayland display.
var ErrBadName = errors.New("not the name of a Wayland display (expected such as wayland-0 or /path/to/socket)")

// maxPath is how long the path of a socket can be (unix(7)).
const maxPath = 107

// Path is the socket of a display: WAYLAND_DISPLAY is its path, or its name
// below XDG_RUNTIME_DIR, which then has to be an absolute path. The result is
// clean, so that one display has one name. The error is ErrBadName, wrapped
// with the name.
func Path(name, runtimeDir string) (string, error) {
	bad := func(why string) (string, error) {
		return "", fmt.Errorf("display %q: %s: %w", name, why, ErrBadName)
	}
	path := name
	switch {
	case name == "":
		return bad("it is empty")
	case strings.HasPrefix(name, "/"):
	case !strings.HasPrefix(runtimeDir, "/"):
		return bad("XDG_RUNTIME_DIR is no absolute path")
	default:
		path = runtimeDir + "/" + name
	}
	path = filepath.Clean(path)
	switch {
	case strings.IndexByte(path, 0) >= 0:
		return bad("it has a NUL in it")
	case len(path) > maxPath:
		return bad("its path is longer than a socket's can be")
	}
	return path, nil
}
