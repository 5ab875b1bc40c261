/* The rig (rig.c) and the chips that it joins by light and serial lines: simavr.c runs an
 * image cycle by cycle, host.c a build of the firmware for the machine that this runs on.
 *
 * A chip is a clock of 16 MHz that is off by something, and runs until its next cycle
 * of interest; the rig runs the one that is behind. What the rig has to do for a board
 * it does at a cycle of that board's chip: timers. */
#ifndef RIG_H
#define RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MAX_BOARDS = 16, PENDING = 64 };

enum timer { ARRIVED, LEFT, EDGE, DISCHARGED, LIGHT, CHATTER, GLITCH, TIMERS };

/* What an LED that also hears is wired to, and D11 and D12 of a board with a comparator. */
enum { CATHODE = 1, ANODE = 2 };

struct octets {
	uint8_t *at;
	size_t from, to, room;
};

struct edge {
	double at;
	bool light;
};

struct board {
	int number;
	double cycle_ns;
	double due; /* when its chip runs next, ns */
	struct mcu *mcu;

	/* serial line */
	uint8_t shift;
	bool shifting;
	struct octets to_board, to_host, from_host; /* from_host: beyond the USB adapter, not yet on the line */
	double line_free, host_bit_ns;              /* when the line to the board is free */
	bool arriving;
	double arrival_start;
	uint32_t overruns, overwritten, misread;

	/* light */
	uint8_t pins;
	bool pins_changed;
	double pins_at, level;
	double eye, eye_since, eye_sum, eye_started; /* the level that is told: blinking at 4 MHz is its mean */
	uint64_t last_change, anchor;
	uint64_t edges, late_edges;
	double received, mean, mean_at;
	bool slicer, line;
	struct edge pending[PENDING];
	int pending_from, pending_used;
	double chatter_ns, glitch_ns; /* glitch_ns: mean time between glitches, 0 for none */
	bool glitch, glitching;       /* inverted now; the timer runs */
	uint32_t lost;

	/* the LED as receiver: the junction's charge is 1 when it begins to float, and its pin falls when it is 0 */
	uint8_t port, ddr;
	bool floating;
	double charge, charge_at;     /* as of then */
	double neighbours, ambient;   /* light of the others, in steady neighbours; of the room, 1 at the start */
	struct power { double at, power; } arriving_light[PENDING];
	int light_from, light_used;

	uint64_t asleep; /* cycles */
	uint32_t stack;  /* the lowest stack pointer seen */
	int pty;
	bool opened; /* a program has the terminal */
};

/* ------------------------------------------------------- the rig, to a chip */

extern bool led; /* boards have one LED that both sends and hears */

void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
double uniform(void); /* (0, 1) */
void append(struct octets *o, uint8_t v);

double time_of(const struct board *b); /* ns */
/* The first cycle that is not before a time. */
uint64_t cycle_at(const struct board *b, double ns);
/* A timer came. Returns the cycle at which it comes again; 0: it does not. */
uint64_t rig_timer(struct board *b, enum timer timer);
/* The UART begins to send an octet; mcu_sent follows. */
void rig_send(struct board *b, uint8_t octet);
/* What drives the LED of a board with one, from now on. */
void rig_led(struct board *b, uint8_t port, uint8_t ddr);
/* A pin of a board with a comparator, CATHODE for D11, ANODE for D12. Both change in one
 * cycle but are told one by one: their light leaves with rig_flush, or with the next cycle's pin. */
void rig_pin(struct board *b, uint8_t pin, bool high);
void rig_flush(struct board *b);
/* The chip was reset, its timers are gone. Time goes on. */
void rig_reset(struct board *b);

/* ------------------------------------------------------- a chip, to the rig */

/* image: what it runs. boot: a boot loader that runs first, and instead where there is no image; NULL for none. */
void mcu_start(struct board *b, const char *image, const char *boot);
uint64_t mcu_cycle(const struct board *b);
/* Sets a timer; cycle 0 stops it. Never one that has passed. */
void mcu_timer(struct board *b, enum timer timer, uint64_t cycle);
/* Sets b->due. */
void mcu_plan(struct board *b);
/* Runs from b->due on: for less time than light travels. */
void mcu_run(struct board *b);
/* Nothing is to be done before that cycle: lets time pass, where it is asleep. */
void mcu_pass(struct board *b, uint64_t cycle);
double mcu_bit_ns(const struct board *b); /* at the speed of its UART */
/* An octet came, whose start bit was at b->arrival_start; bad: its stop bit was none. */
void mcu_octet(struct board *b, uint8_t octet, bool bad);
void mcu_sent(struct board *b);
void mcu_line(struct board *b, bool light); /* what its comparator shows */
void mcu_discharged(struct board *b);       /* its LED's pin has fallen */
bool mcu_blinks(const struct board *b);     /* D11 toggles each second cycle */
void mcu_press_reset(struct board *b);

#endif
