/* The light of stations whose one LED both sends and hears (../PROTOCOL.md,
 * section 9), in portable C. Nothing here knows time: a board turns kinds of slot
 * into light, and light into discharge times.
 *
 *   sender    ls_slots_send -> ls_slots_next: a kind of slot for each slot
 *   receiver  ls_slots_sense, each slot: is there a preamble?
 *             ls_slots_acquire, once: where do the sender's slots begin, how long are they?
 *             ls_slots_hear, each slot: octets
 *
 * A slot is 400 ticks of 0.5 µs. A receiver charges its LED's junction in reverse
 * at the slot's beginning, lets it float from LS_FLOAT on, and measures how long
 * light takes to discharge it: until LS_DARK_END, or LS_CENSORED. */
#ifndef LS_SLOTS_H
#define LS_SLOTS_H

#include "light.h"

enum {
	LS_SLOT = 400,     /* ticks */
	LS_FLOAT = 8,      /* ticks from the slot's beginning to the start of the discharge */
	LS_DARK_END = 260,  /* ticks from the slot's beginning until when a receiver stays dark */
	LS_FRONT = 20,     /* ticks of a pulse's light that a receiver in step does not see: it may be early by as much */
	LS_CENSORED = 255, /* discharge time in ticks: not discharged */
	LS_PREAMBLE_SLOTS = 64,
	LS_ACQUIRE_TICKS = 40 * LS_SLOT, /* how long a receiver looks for the sender's slots */
	LS_SAMPLES = 160,                /* discharges that ls_slots_acquire takes at most */
	LS_GIVE_UP = 64,                 /* octets without light after which a frame is none, or over */
	LS_SLOT_LENGTH = 0x03FF          /* bits of a header's length; the two above are the rate */
};

/* How a slot is lit; full light is LS_SLOT - LS_DARK_END ticks in each of them, before or behind the dark. */
enum ls_slot_kind {
	LS_DARK,  /* no light where receivers measure */
	LS_FULL,  /* light from the slot's beginning on */
	LS_LATER, /* nearly as long, from a bit later on: no clock cuts its front */
	LS_THIRD, LS_TWO_THIRDS,
	LS_KINDS
};

struct ls_slot_sender {
	uint8_t header[LS_HEADER];
	uint16_t left;       /* octets of the body that have not begun */
	uint8_t rate, state;
	uint8_t octet, slot; /* under way; slots of it that have passed */
};
void ls_slots_send(struct ls_slot_sender *s, uint8_t rate, uint16_t length);

/* The next slot's kind, LS_NEEDS when ls_slots_feed must give the next octet of
 * the body first, or LS_OVER. */
enum { LS_NEEDS = -1, LS_OVER = -2 };
int ls_slots_next(struct ls_slot_sender *s);
void ls_slots_feed(struct ls_slot_sender *s, uint8_t octet);

/* Carrier sense: discharge times of consecutive slots. True when they alternate
 * as those of a preamble do, by a twenty-fourth of their length and by 4.2 times
 * what noise does at least: a false start makes a board deaf for 10 ms. */
struct ls_slot_sense {
	uint8_t last[8], at;
	uint8_t seen;   /* up to 8 */
	int16_t sum;    /* of the last eight, with alternate signs */
	uint16_t noise; /* 32 times the mean deviation, ticks: 1.95 times that of one discharge */
};
bool ls_slots_sense(struct ls_slot_sense *s, uint8_t discharge);
/* The next discharge does not follow the last; noise stays what it was. */
void ls_slots_sense_anew(struct ls_slot_sense *s);

/* From n discharges one after the other, gap ticks from each one's end to the
 * next one's start, the first started at 0: the tick, from 0 on, at which a receiver
 * in step begins a slot that is full, and by how much the sender's slots are longer
 * than LS_SLOT. t->trim is what was believed, and gives way where it is further off
 * than 8 ms of light can be wrong. In step it is known as a rule, and better than it can
 * be measured beside lamps that flicker; but others may keep step with another clock, and
 * of a frame whose clock is 0.4 % from what is believed hardly anything can be read. So
 * it gives way half where it is twice as far off at most, and else as well. False: that was no preamble. */
struct ls_slot_timing {
	uint16_t begin; /* ticks, less than two slots */
	int16_t trim;   /* 1/256 tick */
};
bool ls_slots_acquire(const uint16_t *discharge, const uint8_t *gap, uint8_t n, bool in_step, struct ls_slot_timing *t);

/* The rest of a frame, from a full slot of its preamble on. */
struct ls_slot_receiver {
	uint8_t state, rate;
	uint8_t slot;             /* slots of the word that have passed */
	uint8_t time[5];          /* their discharge times */
	uint8_t bits, shift;      /* of the octet */
	uint8_t octet;            /* LS_OCTET, LS_ENDED: the octet of the body */
	uint8_t waited;           /* bits since the beginning */
	uint16_t sync;            /* the last 16 bits */
	uint8_t header[LS_HEADER], got;
	uint16_t left;            /* octets of the body to come */
	uint16_t doubtful;        /* bits, or pairs of bits, near the border */
	int16_t contrast;         /* what a full slot's light takes off a discharge, 1/16 tick */
	int16_t reference;        /* dark as of the body's beginning: contrast in words is against it */
	int16_t least, most;      /* contrast is between them in words */
	uint8_t silent;           /* octets in a row that show no light */
	uint16_t doubted;         /* doubtful as of the last octet */
	int16_t dark;             /* discharge time of a dark slot, 1/16 tick */
	uint32_t deviation;       /* sum of what measurements differ from what they should be, 1/16 tick */
	uint16_t measured;        /* how many they are */
	uint8_t zeros;            /* that contrast was measured on, at most 16 */
	bool strong;              /* contrast is far above noise: follow the clock fast */
	int16_t late;             /* by how much we are later than the sender, 1/16 tick, as of the last slot; */
	int8_t trim;              /* how much longer a slot should be, 1/256 tick: both to be taken and cleared */
};
void ls_slots_listen(struct ls_slot_receiver *r);
/* LS_FALSE: there was no frame; or, after LS_STARTED, it has gone dark for
 * LS_GIVE_UP octets. */
enum ls_light_event ls_slots_hear(struct ls_slot_receiver *r, uint8_t discharge);

/* The header's length and rate; false if it is none. */
bool ls_slots_length(const uint8_t header[LS_HEADER], uint16_t *length, uint8_t *rate);

/* Mean deviation by contrast, of 512, at most 255: the board's noise figure. At
 * least LS_TOO_STRONG where light is too strong to tell two thirds from full. */
enum { LS_TOO_STRONG = 60 };
uint8_t ls_slots_noise(const struct ls_slot_receiver *r);
/* Discharge time of a full slot by that of a dark one, of 255. */
uint8_t ls_slots_ratio(const struct ls_slot_receiver *r);

#endif
