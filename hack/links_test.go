package hack

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

// link is a target in a page, and the line that it is on.
type link struct {
	line   int
	target string
}

// page is what others link to, and whereto it links itself.
type page struct {
	anchors []string
	links   []link
}

// parsePage finds the links of Markdown, and the anchors that GitHub gives its headings. What is
// in a block of code is neither.
func parsePage(text string) page {
	heading := regexp.MustCompile(`^#{1,6} +(.*?) *#*$`)
	target := regexp.MustCompile(`\]\(([^)\s]+)(?: "[^"]*")?\)`)
	code := regexp.MustCompile("`[^`]*`")
	var p page
	fence, n := "", 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, "\n")
		if mark := strings.TrimLeft(line, " "); strings.HasPrefix(mark, "```") {
			switch {
			case fence == "":
				fence = mark[:len(mark)-len(strings.TrimLeft(mark, "`"))]
			case strings.TrimRight(mark, " ") == fence:
				fence = ""
			}
			continue
		}
		if fence != "" {
			continue
		}
		if m := heading.FindStringSubmatch(line); m != nil {
			p.anchors = append(p.anchors, anchorOf(m[1], p.anchors))
		}
		for _, m := range target.FindAllStringSubmatch(code.ReplaceAllString(line, "code"), -1) {
			p.links = append(p.links, link{n, m[1]})
		}
	}
	return p
}

// anchorOf is the anchor of a heading on a page that has others already.
func anchorOf(heading string, others []string) string {
	heading = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(heading, "$1")
	anchor := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			return unicode.ToLower(r)
		case r == ' ':
			return '-'
		}
		return -1
	}, heading)
	for i := 0; ; i++ {
		a := anchor
		if i > 0 {
			a = fmt.Sprintf("%s-%d", anchor, i)
		}
		if !slices.Contains(others, a) {
			return a
		}
	}
}

// dead returns the links of pages that lead nowhere. Addresses of other sites are not looked at.
// Names of files are slashed, and relative to root.
func dead(root string, pages map[string]page) []string {
	var out []string
	for name, p := range pages {
		for _, l := range p.links {
			if strings.Contains(l.target, "://") || strings.HasPrefix(l.target, "mailto:") {
				continue
			}
			file, anchor, _ := strings.Cut(l.target, "#")
			to := name
			if file != "" {
				to = filepath.ToSlash(filepath.Join(filepath.Dir(name), file))
			}
			if _, err := os.Stat(filepath.Join(root, to)); err != nil || strings.HasPrefix(to, "../") {
				out = append(out, fmt.Sprintf("%s:%d: there is no file %s", name, l.line, l.target))
				continue
			}
			if other, ok := pages[to]; anchor != "" && ok && !slices.Contains(other.anchors, anchor) {
				out = append(out, fmt.Sprintf("%s:%d: %s has no heading #%s", name, l.line, to, anchor))
			}
		}
	}
	slices.Sort(out)
	return out
}

// mentions are the places of files that are no pages where a page is named by its path.
func mentions(name, text string) page {
	named := regexp.MustCompile(`\bdocs/[\w-]+\.md(?:#[\w-]+)?`)
	up := strings.Repeat("../", strings.Count(name, "/"))
	var p page
	n := 0
	for line := range strings.Lines(text) {
		n++
		for _, m := range named.FindAllString(line, -1) {
			p.links = append(p.links, link{n, up + m})
		}
	}
	return p
}

// TestLinksOfPagesLeadSomewhere: the files and headings that README and the documentation link to
// are there, and those that programs, samples and comments name.
func TestLinksOfPagesLeadSomewhere(t *testing.T) {
	cmd := exec.Command("git", "ls-files", "-z")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("this is no checkout: %v", err)
	}
	pages := map[string]page{}
	inPages, elsewhere := 0, 0
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		switch filepath.Ext(name) {
		case ".md":
			pages[name] = parsePage(read(t, name))
			inPages += len(pages[name].links)
		case ".go", ".yaml", ".yml", ".sh", ".py", ".proto", ".txt", "":
			if p := mentions(name, read(t, name)); len(p.links) > 0 && name != "hack/links_test.go" {
				pages[name] = p
				elsewhere += len(p.links)
			}
		}
	}
	if inPages < 200 || elsewhere < 50 {
		t.Errorf("%d links on pages, %d elsewhere", inPages, elsewhere)
	}
	for _, l := range dead("..", pages) {
		t.Error(l)
	}
}

func TestALinkThatLeadsNowhereIsFound(t *testing.T) {
	root := t.TempDir()
	text := map[string]string{
		"a.md": "# The page: a `b`, (c)\n\n" +
			"[fine](#the-page-a-b-c), [fine](sub/b.md#two), ![image](no.svg) and\n" +
			"[again](sub/b.md#two-1 \"title\"), [elsewhere](https://example.com/#x), `[code](none.md)`\n" +
			"```sh\n# No heading\n[code](none.md)\n```\n" +
			"[code is none](#no-heading) [gone](sub/c.md)\n",
		"sub/b.md":  "## Two\n[up](../a.md#two)\n## [Two](../a.md)\n[out](../../a.md)\n",
		"sub/d.txt": "see docs/gone.md#x,\ndocs/e.md#here and docs/e.md#there.\n",
		"docs/e.md": "# Here\n",
	}
	pages := map[string]page{}
	for name, body := range text {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		if pages[name] = parsePage(body); filepath.Ext(name) == ".txt" {
			pages[name] = mentions(name, body)
		}
	}
	want := []string{
		"a.md:3: there is no file no.svg",
		"a.md:9: a.md has no heading #no-heading",
		"a.md:9: there is no file sub/c.md",
		"sub/b.md:2: a.md has no heading #two",
		"sub/b.md:4: there is no file ../../a.md",
		"sub/d.txt:1: there is no file ../docs/gone.md#x",
		"sub/d.txt:2: docs/e.md has no heading #there",
	}
	if diff := cmp.Diff(want, dead(root, pages)); diff != "" {
		t.Error(diff)
	}
}
