// Package remote starts workers of native calls through an agent, which may be in
// another container: it is a [workers.Starter] over the agent's link.
//
//	Pool ── Start ──▶ Starter ── start, kill ──▶ agent ──▶ worker
//	  ║                  ▲ ◀──── exited ──────────┘           ║
//	  ╚═══════════ socket pair: the worker's "session" ═══════╝
//
// A worker is started with one end of a socket pair as its session, which has no
// deadline: the pool keeps the time of calls, and says whom to kill. Nothing of a call
// passes through the agent.
//
// # The agent's link
//
//	      dial           hello                    the link ends, or is silent
//	away ──────▶ dialling ─────▶ there ──────────────────────────────────▶ away
//	   ▲           │ failed        │ workers of an earlier sidecar are killed
//	   └── pause ──┘               ▼ Start, Kill
//
// Without an agent Start waits for one. When the link ends, all workers are lost: either
// the agent died, and they with it, or it hangs, and is told to kill them when it is back.
//
// # What a crash loses
//
// Of this process: the channels end, and with them the workers. Of the agent: the
// workers. Either way what they ran crashes, and no more.
package remote
