package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"strconv"
	"strings"
)

// source is one parsed Go file.
type source struct {
	dir  string // its package's path below the module: "internal/proc"
	name string // base name
	test bool
	fset *token.FileSet
	file *ast.File
}

const modulePath = "xexit/"

// parse reads one file's text; dir and name say where it would lie.
func parse(dir, name string, text []byte) (source, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path.Join(dir, name), text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return source{}, err
	}
	return source{dir, name, strings.HasSuffix(name, "_test.go"), fset, file}, nil
}

func (s source) at(pos token.Pos, format string, args ...any) string {
	return fmt.Sprintf("%s: %s", s.fset.Position(pos), fmt.Sprintf(format, args...))
}

// covers reports whether one of the patterns names the import path: exactly,
// or as a prefix if it ends in a slash.
func covers(patterns []string, importPath string) bool {
	for _, p := range patterns {
		if p == importPath || strings.HasSuffix(p, "/") && strings.HasPrefix(importPath, p) {
			return true
		}
	}
	return false
}

func isHelper(dir string) bool { return strings.HasSuffix(dir, "test") }

// checkImports holds one file against its package's row. Tests may import
// more: helpers, and what they compare with.
func checkImports(s source, rows map[string]row) (bad []string) {
	r, ok := rows[s.dir]
	if !ok {
		return []string{fmt.Sprintf("%s: the package has no row in the table of internal/arch/table_test.go", s.dir)}
	}
	for _, spec := range s.file.Imports {
		importPath, _ := strconv.Unquote(spec.Path.Value)
		if importPath == "golang.org/x/sys/unix" && !unixImporters[s.dir] && !s.test {
			bad = append(bad, s.at(spec.Pos(), "imports x/sys/unix: kernel calls belong in internal/linux"))
		}
		if s.test {
			continue
		}
		if covers(r.deny, importPath) {
			bad = append(bad, s.at(spec.Pos(), "%s may not import %s", s.dir, importPath))
		}
		inside, ours := strings.CutPrefix(importPath, modulePath)
		switch {
		case !ours:
		case isHelper(inside) && !isHelper(s.dir):
			if !covers(r.helpers, inside) {
				bad = append(bad, s.at(spec.Pos(), "production code of %s may not import the test helper %s", s.dir, inside))
			}
		case !covers(r.imports, inside):
			bad = append(bad, s.at(spec.Pos(), "%s may not import %s: not in its row", s.dir, inside))
		}
	}
	return bad
}

// bannedCalls are named by import path and function. The second column says
// what to do instead.
var bannedCalls = map[string]string{
	"os.FindProcess":               "use a verified pidfd (proc.Ref)",
	"syscall.Kill":                 "use a verified pidfd (proc.Ref)",
	"syscall.Tgkill":               "use a verified pidfd (proc.Ref)",
	"golang.org/x/sys/unix.Kill":   "use a verified pidfd (proc.Ref)",
	"golang.org/x/sys/unix.Tgkill": "use a verified pidfd (proc.Ref)",
	"golang.org/x/sys/unix.Tkill":  "use a verified pidfd (proc.Ref)",
	"time.Sleep":                   "wait for the event",
}

// checkCalls finds banned calls. time.Sleep is banned in tests as well:
// nothing there synchronises by hoping.
func checkCalls(s source) (bad []string) {
	names := importNames(s.file)
	ast.Inspect(s.file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && names[x.Name] != "" {
			full := names[x.Name] + "." + sel.Sel.Name
			if instead, banned := bannedCalls[full]; banned && (!s.test || full == "time.Sleep") && exceptions[path.Join(s.dir, s.name)+" "+full] == "" {
				bad = append(bad, s.at(sel.Pos(), "%s is banned: %s", full, instead))
			}
		}
		if x, ok := sel.X.(*ast.SelectorExpr); ok && !s.test && x.Sel.Name == "Process" &&
			(sel.Sel.Name == "Kill" || sel.Sel.Name == "Signal") {
			bad = append(bad, s.at(sel.Pos(), "(*os.Process).%s is banned: use a verified pidfd (proc.Ref)", sel.Sel.Name))
		}
		return true
	})
	return bad
}

// importNames maps the name that a file uses for an import to its path.
func importNames(f *ast.File) map[string]string {
	names := make(map[string]string)
	for _, spec := range f.Imports {
		importPath, _ := strconv.Unquote(spec.Path.Value)
		name := path.Base(importPath)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = importPath
	}
	return names
}

// checkState finds what hides in a package: init functions, and variables
// that are not constants in all but name (errors, expressions, tables).
func checkState(s source) (bad []string) {
	if s.test {
		return nil
	}
	for _, decl := range s.file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil && d.Name.Name == "init" {
				bad = append(bad, s.at(d.Pos(), "init function: let the caller compose it"))
			}
		case *ast.GenDecl:
			if d.Tok != token.VAR {
				continue
			}
			for _, spec := range d.Specs {
				v := spec.(*ast.ValueSpec)
				for i, name := range v.Names {
					if name.Name != "_" && !constantLike(v, i, d) {
						bad = append(bad, s.at(name.Pos(), "package variable %s: only errors, expressions, tables and embedded files", name.Name))
					}
				}
			}
		}
	}
	return bad
}

func constantLike(v *ast.ValueSpec, i int, decl *ast.GenDecl) bool {
	for _, doc := range []*ast.CommentGroup{v.Doc, decl.Doc} {
		if doc != nil && strings.Contains(doc.List[len(doc.List)-1].Text, "go:embed") {
			return true
		}
	}
	if i >= len(v.Values) {
		return false
	}
	value := v.Values[i]
	if unary, ok := value.(*ast.UnaryExpr); ok && unary.Op == token.AND {
		return false // a shared pointer is an invitation
	}
	switch x := value.(type) {
	case *ast.CompositeLit, *ast.BasicLit, *ast.FuncLit:
		return true
	case *ast.CallExpr:
		sel, ok := x.Fun.(*ast.SelectorExpr)
		if !ok { // a conversion such as []byte("…")
			_, array := x.Fun.(*ast.ArrayType)
			return array
		}
		pkg, _ := sel.X.(*ast.Ident)
		if pkg == nil {
			return false
		}
		switch pkg.Name + "." + sel.Sel.Name {
		case "errors.New", "fmt.Errorf", "regexp.MustCompile", "strings.NewReplacer":
			return true
		}
	}
	return false
}

// checkMutation finds assignments to the package's own variables: what passes
// checkState must also stay as it is.
func checkMutation(files []source) (bad []string) {
	vars := make(map[string]bool)
	for _, s := range files {
		for _, decl := range s.file.Decls {
			if d, ok := decl.(*ast.GenDecl); ok && d.Tok == token.VAR && !s.test {
				for _, spec := range d.Specs {
					for _, name := range spec.(*ast.ValueSpec).Names {
						vars[name.Name] = true
					}
				}
			}
		}
	}
	for _, s := range files {
		for _, decl := range s.file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			local := localNames(f)
			check := func(e ast.Expr) {
				if name := root(e); name != "" && name != "_" && vars[name] && !local[name] {
					bad = append(bad, s.at(e.Pos(), "assigns to the package variable %s: pass a value instead", name))
				}
			}
			ast.Inspect(f.Body, func(n ast.Node) bool {
				switch x := n.(type) {
				case *ast.AssignStmt:
					if x.Tok != token.DEFINE {
						for _, e := range x.Lhs {
							check(e)
						}
					}
				case *ast.IncDecStmt:
					check(x.X)
				case *ast.UnaryExpr:
					if x.Op == token.AND {
						check(x.X)
					}
				}
				return true
			})
		}
	}
	return bad
}

// root is the variable that e is a part of: t for t.f[3].
func root(e ast.Expr) string {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x.Name
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return ""
		}
	}
}

// localNames are the names that a function declares anywhere; coarse, and on
// the side of silence.
func localNames(f *ast.FuncDecl) map[string]bool {
	names := make(map[string]bool)
	ast.Inspect(f, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.Field:
			for _, name := range x.Names {
				names[name.Name] = true
			}
		case *ast.AssignStmt:
			if x.Tok == token.DEFINE {
				for _, e := range x.Lhs {
					names[root(e)] = true
				}
			}
		case *ast.RangeStmt:
			if x.Tok == token.DEFINE {
				for _, e := range []ast.Expr{x.Key, x.Value} {
					if e != nil {
						names[root(e)] = true
					}
				}
			}
		case *ast.ValueSpec:
			for _, name := range x.Names {
				names[name.Name] = true
			}
		}
		return true
	})
	return names
}

// checkDoc demands one comment that says what belongs in the package.
func checkDoc(dir string, files []source) (bad []string) {
	for _, s := range files {
		if s.test {
			continue
		}
		if doc := s.file.Doc.Text(); strings.HasPrefix(doc, "Package "+s.file.Name.Name+" ") ||
			s.file.Name.Name == "main" && strings.HasPrefix(doc, "Command "+path.Base(dir)+" ") {
			return nil
		}
	}
	return []string{fmt.Sprintf("%s: no package comment (Package %s …, or Command NAME …, with what belongs here and what does not)", dir, path.Base(dir))}
}
