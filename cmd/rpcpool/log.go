package main

import (
	"errors"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
)

const (
	flagLogFormat = "log-format"
	flagLogLevel  = "log-level"
)

// logFormat is the value of --log-format.
type logFormat string

const (
	logText logFormat = "text"
	logJSON logFormat = "json"
)

func (f *logFormat) String() string { return string(*f) }
func (f *logFormat) Type() string   { return "text|json" }
func (f *logFormat) Set(s string) error {
	switch v := logFormat(strings.ToLower(s)); v {
	case logText, logJSON:
		*f = v
		return nil
	default:
		return errors.New("want text or json")
	}
}

// logLevel is the value of --log-level.
type logLevel slog.Level

func (l *logLevel) String() string { return strings.ToLower(slog.Level(*l).String()) }
func (l *logLevel) Type() string   { return "debug|info|warn|error" }
func (l *logLevel) Set(s string) error {
	switch strings.ToLower(s) {
	case "debug":
		*l = logLevel(slog.LevelDebug)
	case "info":
		*l = logLevel(slog.LevelInfo)
	case "warn":
		*l = logLevel(slog.LevelWarn)
	case "error":
		*l = logLevel(slog.LevelError)
	default:
		return errors.New("want debug, info, warn or error")
	}
	return nil
}

func addLogFlags(cmd *cobra.Command) {
	format, level := logText, logLevel(slog.LevelInfo)
	cmd.PersistentFlags().Var(&format, flagLogFormat, "format of the log on stderr")
	cmd.PersistentFlags().Var(&level, flagLogLevel, "least level that is logged")
}

// logOptions are the parsed flags; nil fields are the defaults.
type logOptions struct {
	format *logFormat
	level  *logLevel
}

func (o logOptions) logger(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{}
	if o.level != nil {
		options.Level = slog.Level(*o.level)
	}
	if o.format != nil && *o.format == logJSON {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// agentLogArgs makes the agent log as this command does.
func agentLogArgs(cmd *cobra.Command) []string {
	var args []string
	for _, name := range []string{flagLogFormat, flagLogLevel} {
		if f := cmd.Flag(name); f != nil {
			args = append(args, "--"+name, f.Value.String())
		}
	}
	return args
}
