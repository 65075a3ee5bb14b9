package state

import "time"

// What a jump of time is, and how long time must move on without one before expiry goes by it again (rule R13).
const (
	MaxTimeStep  = 6 * time.Hour // from one command to the next
	ConfirmAfter = 6 * time.Hour // of steady time since a jump
)

// clock is what the state knows of time: what the commands say. One wrong clock must not expire everything that is kept for a
// time, so there are two: latest, the largest time ever seen, with which things are stamped, and steady, by which things
// expire. Steady follows the commands' times as long as they move by less than MaxTimeStep. A larger jump (a clock that runs
// ahead, or a cluster that was stopped for days) suspends it: it stays where it was until times have moved on from the jump,
// without another one and without a command from before it, for ConfirmAfter.
type clock struct {
	latest int64 // ms since the epoch
	steady int64 // ms since the epoch; 0: nothing seen yet
	began  int64 // the first time after a jump that is not confirmed yet; 0: none
	till   int64 // the largest time since began
}

// tick notes the time of a command; commands without one say nothing.
func (c *clock) tick(ms int64) {
	if ms <= 0 {
		return
	}
	c.latest = max(c.latest, ms)
	step := MaxTimeStep.Milliseconds()
	switch {
	case c.steady == 0:
		c.steady = ms
	case ms-step <= c.steady:
		c.steady = max(c.steady, ms)
		c.began, c.till = 0, 0
	case c.began == 0, ms-step > c.till, ms < c.began-step:
		c.began, c.till = ms, ms
	default:
		c.till = max(c.till, ms)
		if c.till-c.began >= ConfirmAfter.Milliseconds() {
			c.steady = c.till
			c.began, c.till = 0, 0
		}
	}
}
