package ending

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"xexit/internal/logindefs"
)

// loginDefs reads where ordinary users' ids lie. An absent file means the
// defaults; one that cannot be read or understood is an error.
func loginDefs(path string) (logindefs.Range, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return logindefs.Range{}, err
	}
	limits, err := logindefs.UIDs(string(text))
	if err != nil {
		return logindefs.Range{}, fmt.Errorf("read %s: %w", path, err)
	}
	return limits, nil
}
