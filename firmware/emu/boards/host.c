/* A board's chip as this machine: it runs the firmware as built for it, a shared object
 * (../../core/led.c and what that needs) of which each board has a copy of its own, with
 * its own variables. Below it are a clock, the pins of one LED and a serial line, by the
 * ticks of the real ones: edges of light are where the firmware wants them, a discharge
 * is taken to the tick.
 *
 * What is computed takes the time that the ATmega328P was seen to need in simavr (COST). But
 * nothing keeps an interrupt waiting: the UART always finds a reader, what is written never
 * waits for the line, light comes at its tick whatever else is to be done. So of stack,
 * overruns and sleep this chip tells nothing. It has no comparator and no boot loader. */
#define _GNU_SOURCE
#include "rig.h"

#include "../../core/led.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TICK = 8, BAUD = 115200 }; /* cycles; bit/s */

enum {
	COST_ROUND = 500,              /* cycles of ls_led_round, mostly ls_slots_sense: 300 to 900 */
	COST_ACQUIRE = 11000,          /* … with ls_slots_acquire: 36700 with 68 discharges, 40100 with 77, 62900 with 137 */
	COST_DISCHARGE = 379,
	TICKS_ANEW = 15,               /* from a discharge to where the junction floats again */
	COST_RESET = 16 * 2000 * TICK, /* the watchdog's shortest time */
};

/* Timers of the chip itself, beside those of the rig. In this order where they come at once. */
enum { DUE = TIMERS, LIT, FLOATS, ENOUGH, ROUND, BOOT, ALL };

struct mcu {
	uint64_t cycle;       /* as of what happened last */
	uint64_t timers[ALL]; /* cycles; 0: not set */

	int file; /* the board's copy of the image: as long as it is open no other has its name */
	void *image;
	struct ls_led *next;
	void (*serial)(uint8_t), (*event)(void), (*floats)(uint16_t, uint16_t), (*acquired)(void), (*round)(void);
	bool (*captured)(uint16_t), (*idle)(void);
	bool resets, again; /* a round is to follow the one that is under way */

	struct octets out;
	uint32_t baud, next_baud; /* next_baud: from when out is empty; 0: none */

	bool fell, captures; /* the pin has fallen since it floats; discharges are told one by one */
	uint16_t fell_at;    /* ticks */
	unsigned discharges; /* … that were told */
};

static const char *image;
static struct board *running; /* whose firmware is */

uint64_t mcu_cycle(const struct board *b) { return b->mcu->cycle; }

static uint64_t ticks(const struct board *b) { return b->mcu->cycle / TICK; }

/* When a tick comes that is known modulo 2^16: at once, if it has. */
static uint64_t cycle_of(const struct board *b, uint16_t tick)
{
	int16_t ahead = (int16_t)(tick - (uint16_t)ticks(b));
	return ahead > 0 ? (ticks(b) + (uint64_t)ahead) * TICK : b->mcu->cycle;
}

/* -------------------------------------------------------- for the firmware */

uint8_t board_kind(void) { return 240; }

uint16_t chip_ticks(void) { return (uint16_t)ticks(running); }

void board_reset(void) { running->mcu->resets = true; }

void board_out(uint8_t octet)
{
	if (running->shifting)
		append(&running->mcu->out, octet);
	else
		rig_send(running, octet);
}

void chip_baud(uint32_t baud)
{
	if (running->shifting)
		running->mcu->next_baud = baud;
	else
		running->mcu->baud = baud;
}

static void dark(struct board *b) { rig_led(b, 0, ANODE | CATHODE); }
static void lit(struct board *b) { rig_led(b, ANODE, ANODE | CATHODE); }
static void charge(struct board *b) { rig_led(b, CATHODE, ANODE | CATHODE); }

void chip_lit(void) { lit(running); }

void chip_measure(uint16_t from)
{
	charge(running);
	running->mcu->timers[FLOATS] = cycle_of(running, from);
}

/* Light begins at its own tick, as that of events does. */
bool chip_measured(uint16_t *fell, bool light)
{
	struct mcu *m = running->mcu;
	*fell = m->fell_at;
	dark(running);
	if (light)
		m->timers[LIT] = m->cycle + LS_READING * TICK;
	return m->fell;
}

void chip_acquire(uint16_t limit)
{
	struct mcu *m = running->mcu;
	m->captures = true;
	m->discharges = 0;
	m->timers[ENOUGH] = cycle_of(running, limit);
}

void chip_resume(void) { running->mcu->timers[DUE] = cycle_of(running, running->mcu->next->due); }

/* ------------------------------------------------------------------- image */

/* The address of something in the image. */
static void *find(struct mcu *m, const char *name)
{
	void *at = dlsym(m->image, name);
	if (!at)
		die("%s: no %s", image, name);
	return at;
}

/* A copy of the image, for else all boards would have the same variables. */
static void load(struct mcu *m)
{
	char name[32];
	struct stat file;
	int from = open(image, O_RDONLY | O_CLOEXEC), to = m->file = memfd_create("board", MFD_CLOEXEC);
	if (from < 0 || to < 0 || fstat(from, &file) != 0 || sendfile(to, from, NULL, (size_t)file.st_size) != file.st_size)
		die("%s: no image", image);
	snprintf(name, sizeof name, "/proc/self/fd/%d", to);
	if (!(m->image = dlopen(name, RTLD_NOW | RTLD_LOCAL)))
		die("%s: %s", image, dlerror());
	close(from);
	m->next = find(m, "ls_led");
	*(void **)&m->serial = find(m, "ls_led_serial");
	*(void **)&m->event = find(m, "ls_led_event");
	*(void **)&m->captured = find(m, "ls_led_captured");
	*(void **)&m->floats = find(m, "ls_led_floats");
	*(void **)&m->acquired = find(m, "ls_led_acquired");
	*(void **)&m->round = find(m, "ls_led_round");
	*(void **)&m->idle = find(m, "ls_led_idle");
}

static void boot_up(struct board *b)
{
	struct mcu *m = b->mcu;
	void (*start)(void);
	load(m);
	m->baud = BAUD;
	*(void **)&start = find(m, "ls_led_start");
	running = b;
	dark(b);
	start();
	chip_resume();
}

static void reset(struct board *b)
{
	struct mcu *m = b->mcu;
	struct mcu fresh = {.cycle = m->cycle, .out = {.at = m->out.at, .room = m->out.room}};
	dlclose(m->image);
	close(m->file);
	*m = fresh;
	rig_led(b, 0, 0);
	rig_reset(b);
	m->timers[BOOT] = m->cycle + COST_RESET;
}

/* -------------------------------------------------------------------- time */

/* An interrupt has passed: the main loop takes a round, and another one if it was at it. */
static void wake(struct board *b)
{
	struct mcu *m = b->mcu;
	if (m->timers[ROUND] != 0)
		m->again = true;
	else
		m->timers[ROUND] = m->cycle + COST_ROUND;
}

static void acquired(struct board *b)
{
	struct mcu *m = b->mcu;
	m->captures = false;
	m->timers[ENOUGH] = m->timers[FLOATS] = 0;
	dark(b);
	m->acquired();
	m->timers[ROUND] = m->cycle + COST_ACQUIRE + COST_DISCHARGE * m->discharges;
}

static void due(struct board *b)
{
	struct mcu *m = b->mcu;
	if (m->next->event != LS_MEASURED) {
		if (m->next->level)
			lit(b);
		else
			dark(b);
	}
	m->event();
	if (m->next->mode != LS_ACQUIRE)
		chip_resume();
	wake(b);
}

static void own_timer(struct board *b, int timer)
{
	struct mcu *m = b->mcu;
	switch (timer) {
	case DUE:
		due(b);
		return;
	case LIT:
		lit(b);
		return;
	case FLOATS:
		m->fell = false;
		if (m->captures && m->discharges != 0)
			m->floats(m->fell_at, (uint16_t)ticks(b));
		rig_led(b, 0, ANODE);
		return;
	case ENOUGH:
		acquired(b);
		return;
	case ROUND:
		m->again = false;
		m->round();
		if (m->resets)
			reset(b);
		else if (m->again || !m->idle())
			wake(b);
		return;
	default:
		boot_up(b);
		return;
	}
}

static int soonest(const struct mcu *m)
{
	int first = -1;
	for (int i = 0; i < ALL; i++)
		if (m->timers[i] != 0 && (first < 0 || m->timers[i] < m->timers[first]))
			first = i;
	return first;
}

void mcu_plan(struct board *b)
{
	int first = soonest(b->mcu);
	b->due = first < 0 ? 1e300 : (double)b->mcu->timers[first] * b->cycle_ns;
}

void mcu_timer(struct board *b, enum timer timer, uint64_t cycle) { b->mcu->timers[timer] = cycle; }

void mcu_run(struct board *b)
{
	struct mcu *m = b->mcu;
	int first = soonest(m);
	running = b;
	m->cycle = m->timers[first];
	m->timers[first] = 0;
	if (first >= (int)TIMERS) {
		own_timer(b, first);
	} else {
		uint64_t again = rig_timer(b, (enum timer)first);
		if (again != 0)
			m->timers[first] = again;
	}
	mcu_plan(b);
}

void mcu_pass(struct board *b, uint64_t cycle)
{
	if (cycle > b->mcu->cycle)
		b->mcu->cycle = cycle;
}

/* ------------------------------------------------------------- for the rig */

double mcu_bit_ns(const struct board *b) { return 1e9 / b->mcu->baud * b->cycle_ns / 62.5; }

void mcu_octet(struct board *b, uint8_t octet, bool bad)
{
	(void)bad; /* the firmware finds that by the check */
	if (!b->mcu->image)
		return;
	b->mcu->serial(octet);
	wake(b);
}

void mcu_sent(struct board *b)
{
	struct mcu *m = b->mcu;
	if (m->out.from != m->out.to) {
		rig_send(b, m->out.at[m->out.from++]);
	} else if (m->next_baud != 0) {
		m->baud = m->next_baud;
		m->next_baud = 0;
	}
}

void mcu_discharged(struct board *b)
{
	struct mcu *m = b->mcu;
	m->fell = true;
	m->fell_at = (uint16_t)ticks(b);
	if (!m->captures)
		return;
	m->discharges++;
	charge(b);
	if (m->captured(m->fell_at))
		acquired(b);
	else
		m->timers[FLOATS] = (ticks(b) + TICKS_ANEW) * TICK;
}

void mcu_line(struct board *b, bool light)
{
	(void)b;
	(void)light;
}

bool mcu_blinks(const struct board *b)
{
	(void)b;
	return false;
}

void mcu_press_reset(struct board *b) { reset(b); }

void mcu_start(struct board *b, const char *file, const char *boot)
{
	if (!led || boot)
		die("a host build has one LED that sends and hears, and no boot loader: led=1");
	if (!(b->mcu = calloc(1, sizeof *b->mcu)))
		die("no memory");
	image = file;
	b->mcu->cycle = TICK;
	boot_up(b);
}
