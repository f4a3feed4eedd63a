package tune

import (
	"cmp"
	"image/color"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// serverNames lists the servers of trials, in order.
func serverNames(trials []Trial) []string {
	var names []string
	for _, t := range trials {
		names = append(names, t.Server)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// ended is when a trial ended on the x axis, in seconds.
func (p Picture) ended(t Trial) float64 { return t.Ended.Sub(p.Start).Seconds() }

// speedPlot shows the speed of every trial when it ended, and the best so far.
// Trials that failed have no speed: they are marked below zero.
func (p Picture) speedPlot() *plot.Plot {
	plt := newPlot("Speed of each trial and best so far", p.Wall.Seconds())
	plt.Y.Label.Text = "Speed (GFLOP/s)"
	trials := slices.Clone(p.Trials)
	slices.SortFunc(trials, func(a, b Trial) int { return a.Ended.Compare(b.Ended) })
	top := 0.0
	for _, t := range trials {
		if t.Outcome == OutcomeOK {
			top = max(top, t.GFLOPS)
		}
	}
	if top == 0 {
		top = 1
	}
	plt.Y.Min, plt.Y.Max = -0.10*top, 1.08*top
	lane := -0.05 * top
	plt.Y.Tick.Marker = niceTicks{extra: []plot.Tick{{Value: lane, Label: "failed"}}}
	plt.Add(horizontalGrid())
	points := map[Outcome]plotter.XYs{}
	var best plotter.XYs
	for _, t := range trials {
		at := plotter.XY{X: p.ended(t), Y: lane}
		if t.Outcome == OutcomeOK {
			at.Y = t.GFLOPS
			if len(best) == 0 || at.Y > best[len(best)-1].Y {
				best = append(best, at)
			}
		}
		points[t.Outcome] = append(points[t.Outcome], at)
	}
	if len(best) > 0 {
		best = append(best, plotter.XY{X: p.Wall.Seconds(), Y: best[len(best)-1].Y})
		plt.Add(&plotter.Line{XYs: best, StepStyle: plotter.PostStep, LineStyle: bestLine()})
	}
	for _, o := range Outcomes() {
		style := glyph(o)
		style.Color = barColor(o)
		if len(points[o]) > 0 {
			plt.Add(&plotter.Scatter{XYs: points[o], GlyphStyle: style})
		}
	}
	return plt
}

// timelinePlot shows a row for every server with a bar for every session.
func (p Picture) timelinePlot(servers []string) *plot.Plot {
	plt := newPlot("What each server ran", p.Wall.Seconds())
	plt.X.Label.Text = "Time since the start (s)"
	plt.Y.Min, plt.Y.Max = -0.5, max(float64(len(servers)), 1)-0.5
	row := make(map[string]float64, len(servers))
	ticks := plot.ConstantTicks{}
	for i, name := range servers {
		row[name] = float64(len(servers) - 1 - i) // the first on top
		ticks = append(ticks, plot.Tick{Value: row[name], Label: name})
	}
	plt.Y.Tick.Marker = ticks
	plt.Y.Tick.Length = 0
	bars := sessionBars{}
	for _, t := range p.Trials {
		bars = append(bars, sessionBar{
			from: t.SessionStart().Sub(p.Start).Seconds(), to: p.ended(t), row: row[t.Server], outcome: t.Outcome,
		})
	}
	// What went wrong is drawn last and so never hidden.
	slices.SortStableFunc(bars, func(a, b sessionBar) int {
		return cmp.Compare(slices.Index(Outcomes(), a.outcome), slices.Index(Outcomes(), b.outcome))
	})
	plt.Add(bars)
	return plt
}

// sessionBar is one session in the timeline.
type sessionBar struct {
	from, to float64 // seconds
	row      float64
	outcome  Outcome
}

// sessionBars draws the sessions of the timeline.
type sessionBars []sessionBar

// Plot implements plot.Plotter. However short a failed session was, it shows.
func (bars sessionBars) Plot(c draw.Canvas, plt *plot.Plot) {
	x, y := plt.Transforms(&c)
	const halfRow = 0.36
	for _, b := range bars {
		left, right := x(b.from), x(b.to)
		right -= min(0.5, 0.2*(right-left)) // a hair between sessions, so that they can be told apart
		if b.outcome != OutcomeOK {
			right = max(right, left+1.5) // points
		}
		low, high := y(b.row-halfRow), y(b.row+halfRow)
		c.FillPolygon(barColor(b.outcome), c.ClipPolygonXY([]vg.Point{
			{X: left, Y: low}, {X: right, Y: low}, {X: right, Y: high}, {X: left, Y: high},
		}))
	}
}

func horizontalGrid() *plotter.Grid {
	g := plotter.NewGrid()
	g.Vertical.Width = 0
	g.Horizontal = draw.LineStyle{Color: color.NRGBA{R: 0xe4, G: 0xe6, B: 0xea, A: 0xff}, Width: vg.Points(0.6)}
	return g
}

// barColor is an outcome's colour where there are many marks: what went well
// steps back.
func barColor(o Outcome) color.NRGBA {
	c := colorOf(o)
	if o == OutcomeOK {
		c.A = 0xa8
	}
	return c
}
