package agent

import (
	"path/filepath"
	"strconv"
	"strings"
)

// corePattern is where the kernel puts core dumps (core(5)).
type corePattern string

// names returns the patterns, as of [filepath.Match], that the name of a
// process's dump can have. What the agent does not know of the dead process
// matches anything. absolute tells whether they are absolute paths; else they are
// names in the process's current directory. There are none where dumps go to a
// program or a socket, or into some directory below the current one.
func (p corePattern) names(pid int) (globs []string, absolute bool) {
	text := strings.TrimSuffix(string(p), "\n")
	absolute = strings.HasPrefix(text, "/")
	if text == "" || text[0] == '|' || text[0] == '@' || !absolute && strings.Contains(text, "/") {
		return nil, false
	}
	glob := p.expand(text, pid)
	// With core_uses_pid, the kernel adds a pid that the pattern lacks.
	return []string{glob, glob + "." + strconv.Itoa(pid)}, absolute
}

// expand replaces the pattern's specifiers.
func (p corePattern) expand(text string, pid int) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '%' && i+1 == len(text): // the kernel drops it
		case c == '%':
			i++
			b.WriteString(specifier(text[i], pid))
		case strings.IndexByte(`*?[\`, c) >= 0:
			b.WriteString(`\` + string(c))
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// specifier returns what "%" with c stands for.
func specifier(c byte, pid int) string {
	switch c {
	case '%':
		return "%"
	case 'p':
		return strconv.Itoa(pid)
	case 'P', 'i', 'I', 'u', 'g', 'd', 's', 't', 'h', 'e', 'f', 'E', 'c', 'C', 'F':
		return "*"
	default: // the kernel drops it
		return ""
	}
}

// matches tells whether a name is one of those that globs stand for.
func matches(globs []string, name string) bool {
	for _, g := range globs {
		if ok, err := filepath.Match(g, name); err == nil && ok {
			return true
		}
	}
	return false
}
