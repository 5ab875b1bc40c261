#include "led.h"

#ifdef __AVR__
#include <util/atomic.h>
#define ATOMIC ATOMIC_BLOCK(ATOMIC_RESTORESTATE)
#else
#define ATOMIC /* a chip that is simulated interrupts nothing */
#endif

enum {
	RING_SIZE = 512,  /* from the host */
	FILL = 0x55,
	KINDS = 64,       /* slots that are ready to be sent */
	TIMES = 32,       /* discharge times that wait */
	LATEST = 8,       /* slots of light left when a body is filled up */
	END = 0xFF        /* among kinds: the frame is over */
};

/* ---------------------------------------------------------------- serial line */

static uint8_t ring[RING_SIZE];
static volatile uint16_t ring_head;
static uint16_t ring_tail;
static volatile bool overran;

void ls_led_serial(uint8_t octet)
{
	uint16_t head = ring_head;
	ring[head] = octet;
	ring_head = (head + 1) & (RING_SIZE - 1);
}

void ls_led_overran(void) { overran = true; }

static uint16_t ring_fill(void)
{
	uint16_t head;
	ATOMIC { head = ring_head; }
	return (head - ring_tail) & (RING_SIZE - 1);
}

static uint8_t ring_take(void)
{
	uint8_t octet = ring[ring_tail];
	ring_tail = (ring_tail + 1) & (RING_SIZE - 1);
	return octet;
}

/* ---------------------------------------------------------------------- light */

struct ls_led ls_led;
static uint16_t slot_start;      /* of this slot; while LS_FILLED is to come, of the next */
static uint8_t slot_part;        /* … and 1/256 tick of it */
static volatile int16_t trim;    /* 1/256 tick that our slots are longer than LS_SLOT */
static volatile int16_t shift;   /* ticks that the next slot comes later, once */
static uint8_t on_at, off_at;    /* of this slot, ticks */
static uint8_t fill_at;          /* ticks of light behind the dark: what the kind's light leaves of full light */
static uint8_t full_light = LS_SLOT - LS_DARK_END; /* ticks */
static bool idle_light = true;
static uint8_t next_level;       /* … from the next slot's beginning, while LS_FILLED is to come */

/* Light of each kind: where it begins and ends in the slot. */
static uint8_t kind_on[LS_KINDS], kind_off[LS_KINDS];

static volatile uint8_t kinds[KINDS], kinds_head, kinds_tail;
static volatile uint8_t times[TIMES], times_head;
static uint8_t times_tail;
static volatile bool send_over;
static volatile uint8_t want;    /* mode to go to with the next slot */
static volatile uint16_t sent_tick; /* when the first slot began */

/* What acquisition measures. */
static uint16_t acquired[LS_SAMPLES];
static uint8_t gaps[LS_SAMPLES];
static volatile uint8_t acquired_count;
static volatile bool acquired_all;
static uint16_t acquire_start, float_at;

static void next_slot(void)
{
	uint8_t kind = kinds_head != kinds_tail ? kinds[kinds_tail] : END;
	bool starts_lit = want == LS_SEND && kind != END && kind_on[kind] == 0 && kind_off[kind] != 0;
	ls_led.level = starts_lit ? LS_ANODE : 0;
	int16_t t = (int16_t)(trim + slot_part);
	slot_part = (uint8_t)t;
	slot_start += (uint16_t)(LS_SLOT + (t >> 8) + shift);
	shift = 0;
	ls_led.event = LS_START;
	ls_led.due = slot_start;
}

static void turn_off(void)
{
	ls_led.level = 0;
	ls_led.event = LS_OFF;
	ls_led.due = slot_start + off_at;
}

/* The slot's last light. What follows is worked out now: there may be 17 ticks between them. */
static void fill(void)
{
	uint16_t from = slot_start + (LS_SLOT - fill_at);
	next_slot();
	next_level = ls_led.level;
	ls_led.level = LS_ANODE;
	ls_led.event = LS_FILLED;
	ls_led.due = from;
}

static void begin_slot(void)
{
	ls_led.mode = want;
	if (ls_led.mode == LS_SEND) {
		uint8_t kind = LS_DARK;
		if (kinds_head != kinds_tail) {
			kind = kinds[kinds_tail];
			kinds_tail = (kinds_tail + 1) & (KINDS - 1);
		}
		if (kind == END) {
			send_over = true;
			ls_led.mode = want = LS_LISTEN;
		} else {
			on_at = kind_on[kind];
			off_at = kind_off[kind];
			fill_at = full_light - (off_at - on_at);
			if (off_at != 0 && on_at == 0) {
				chip_lit(); /* the first slot of a frame: others are lit already */
				turn_off();
				return;
			}
			if (off_at == 0) {
				fill();
				return;
			}
			ls_led.level = LS_ANODE;
			ls_led.event = LS_ON;
			ls_led.due = slot_start + on_at;
			return;
		}
	}
	chip_measure(slot_start + LS_FLOAT);
	if (ls_led.mode == LS_ACQUIRE) {
		acquired_count = 0;
		acquire_start = float_at = slot_start + LS_FLOAT;
		chip_acquire(acquire_start + LS_ACQUIRE_TICKS + LS_SLOT);
		return;
	}
	fill_at = idle_light ? full_light : 0;
	ls_led.event = LS_MEASURED;
	ls_led.due = slot_start + LS_DARK_END - LS_READING;
}

void ls_led_event(void)
{
	switch (ls_led.event) {
	case LS_START:
		begin_slot();
		return;
	case LS_ON:
		turn_off();
		return;
	case LS_OFF:
		if (fill_at == 0)
			next_slot();
		else
			fill();
		return;
	case LS_MEASURED: {
		uint16_t fell;
		uint8_t time = LS_CENSORED;
		if (chip_measured(&fell, fill_at == LS_SLOT - LS_DARK_END)) {
			uint16_t t = fell - (slot_start + LS_FLOAT);
			if (t < LS_CENSORED)
				time = (uint8_t)t;
		}
		times[times_head] = time;
		times_head = (times_head + 1) & (TIMES - 1);
		if (fill_at != 0 && fill_at != LS_SLOT - LS_DARK_END)
			fill();
		else
			next_slot();
		return;
	}
	default:
		ls_led.level = next_level;
		ls_led.event = LS_START;
		ls_led.due = slot_start;
		return;
	}
}

bool ls_led_captured(uint16_t at)
{
	uint8_t n = acquired_count;
	acquired[n] = at - float_at;
	acquired_count = ++n;
	return n == LS_SAMPLES || (uint16_t)(at - acquire_start) >= LS_ACQUIRE_TICKS;
}

void ls_led_floats(uint16_t at, uint16_t from)
{
	uint16_t gap = from - at;
	float_at = from;
	gaps[acquired_count - 1] = gap > 255 ? 255 : (uint8_t)gap;
}

void ls_led_acquired(void) { acquired_all = true; }

/* ---------------------------------------------------------------------- board */

static struct ls_slot_sender sender;
static struct ls_slot_sense sense;
static struct ls_slot_receiver receiver;

enum { QUIET, ACQUIRING, HEARING, IN_FRAME, SENDING };
static uint8_t doing;
static bool rx_open;              /* an RX message is being told */
static uint32_t last_light;       /* end of the last frame, own or heard */
static uint32_t busy_since, rx_start;
static uint32_t last_frame;       /* when our slots were in step with somebody's last */
static uint16_t rx_slots;         /* slots since the sync word began */
static bool in_step;
static uint16_t missing;          /* octets of the body that did not come */
static uint8_t broken;            /* what broke the body off */
static bool dry, test_frame, pending;
static uint32_t pending_since;
static uint8_t prbs_register;     /* of the sequence, and of a test frame that is heard: */
static uint16_t frame_bits, frame_wrong;

uint16_t board_features(void) { return 0x07; }
/* Light takes a thirtieth of 250000 baud; at more, octets come while an interrupt waits for its tick. */
uint8_t board_speeds(void) { return 0x03; }

/* dim 2 is the brightest light that leaves receivers the dark they need, 1 half
 * of it, 0 sends as 2 does and is dark when it does not. */
void board_config(const struct ls_config *c)
{
	uint8_t full = c->dim == 1 ? (LS_SLOT - LS_DARK_END) / 2 : LS_SLOT - LS_DARK_END;
	uint8_t seen = full - LS_FRONT; /* receivers see so much of a full slot */
	static const uint8_t thirds[LS_KINDS] = {0, 3, 3, 1, 2};
	ATOMIC
	{
		full_light = full;
		idle_light = c->dim != 0;
		for (uint8_t k = LS_FULL; k < LS_KINDS; k++) {
			kind_on[k] = 0;
			kind_off[k] = (uint8_t)((uint16_t)(seen * thirds[k] + 1) / 3 + LS_FRONT);
		}
		kind_on[LS_LATER] = LS_FRONT + 16;
		kind_off[LS_LATER] = LS_FRONT + 16 + seen;
	}
}

bool board_busy(uint32_t *since)
{
	*since = busy_since;
	return doing != QUIET && doing != SENDING;
}

void board_test(uint8_t mode) { (void)mode; }

/* Tells the carrier where the host wants to know unasked. */
static void now_doing(uint8_t what)
{
	bool was = doing == ACQUIRING || doing == HEARING || doing == IN_FRAME;
	bool is = what == ACQUIRING || what == HEARING || what == IN_FRAME;
	doing = what;
	if (was == is)
		return;
	busy_since = board_now();
	if ((core.config.options & 1) != 0) {
		ls_begin(LS_SENSE | LS_ANSWER);
		ls_u8(is);
		ls_u32(busy_since);
		ls_end();
	}
}

static void listen_anew(void)
{
	ls_slots_sense_anew(&sense);
	now_doing(QUIET);
}

static void frame_begins(void)
{
	now_doing(IN_FRAME);
	prbs_register = 0x7F;
	frame_bits = frame_wrong = 0;
	if (core.test.mode == 2)
		return;
	rx_open = true;
	ls_begin(LS_RX);
	for (uint8_t i = 0; i < LS_HEADER; i++)
		ls_u8(receiver.header[i]);
}

static void octet_came(void)
{
	core.stats.rx_octets++;
	if (rx_open) {
		ls_u8(receiver.octet);
		return;
	}
	frame_bits += 8;
	for (uint8_t v = receiver.octet ^ ls_prbs(&prbs_register); v != 0; v &= v - 1)
		frame_wrong++;
}

static void frame_ends(bool whole)
{
	last_light = last_frame = board_now();
	in_step = true;
	core.stats.rx_frames++;
	core.stats.violations += receiver.doubtful;
	if (!whole)
		core.stats.truncated++;
	if (rx_open) {
		rx_open = false;
		ls_u8(!whole);
		ls_u8(receiver.rate);
		ls_u16(receiver.doubtful);
		ls_u8(ls_slots_noise(&receiver));
		ls_u8(ls_slots_ratio(&receiver));
		ls_u32(rx_start);
		/* the slots that it lasted, at the length that they have in our ticks */
		ls_u32(rx_start + (uint32_t)rx_slots * LS_SLOT + (uint32_t)((int32_t)rx_slots * trim / 256));
		ls_end();
	} else if (core.test.mode == 2) {
		ls_tested(&core, frame_bits, whole ? frame_wrong : UINT16_MAX);
	}
	listen_anew();
}

/* A slot was measured. */
static void slot_passed(uint8_t time)
{
	if (doing == QUIET) {
		if (ls_slots_sense(&sense, time)) {
			now_doing(ACQUIRING);
			ATOMIC
			{
				acquired_all = false;
				want = LS_ACQUIRE;
			}
		}
		return;
	}
	if (doing != HEARING && doing != IN_FRAME)
		return;
	rx_slots++;
	enum ls_light_event heard = ls_slots_hear(&receiver, time);
	if (receiver.late != 0 || receiver.trim != 0) {
		int16_t ticks = receiver.late / 16;
		ATOMIC
		{
			shift -= ticks;
			int16_t t = trim - receiver.trim;
			if (t > -2560 && t < 2560)
				trim = t;
		}
		receiver.late -= ticks * 16;
		receiver.trim = 0;
	}
	switch (heard) {
	case LS_NOTHING:
		if (receiver.got == 0)
			rx_slots = 32; /* the sync word ends with this one */
		return;
	case LS_STARTED:
		rx_start = board_now() - (uint32_t)rx_slots * LS_SLOT;
		last_frame = clock_now;
		in_step = true;
		frame_begins();
		return;
	case LS_OCTET:
		octet_came();
		return;
	case LS_ENDED:
		octet_came();
		frame_ends(true);
		return;
	case LS_FALSE:
		core.stats.false_starts++;
		if (doing == IN_FRAME)
			frame_ends(false);
		else
			listen_anew();
		return;
	}
}

/* Puts our slots where those of the preamble are. */
static void slots_acquired(void)
{
	int16_t length = trim;
	struct ls_slot_timing t = {.trim = length};
	bool good = ls_slots_acquire(acquired, gaps, acquired_count, in_step, &t);
	if (good)
		length = t.trim;
	ATOMIC
	{
		uint16_t now = chip_ticks(), passed = now - acquire_start;
		trim = length;
		if (good) {
			/* the next full slot that is far enough away */
			uint16_t pairs = (passed + 60) / (2 * LS_SLOT) + 1;
			uint16_t begin = acquire_start + t.begin + pairs * (2 * LS_SLOT) + (uint16_t)((int32_t)pairs * 2 * length / 256);
			slot_start = begin;
		} else {
			slot_start = now + 60;
			core.stats.false_starts++;
		}
		slot_part = 0;
		shift = 0;
		want = ls_led.mode = LS_LISTEN;
		ls_led.event = LS_START;
		ls_led.level = 0;
		ls_led.due = slot_start;
		times_tail = times_head;
		chip_resume();
	}
	if (!good) {
		listen_anew();
		return;
	}
	ls_slots_listen(&receiver);
	rx_slots = 0;
	now_doing(HEARING);
}

static bool next_octet(uint8_t *octet)
{
	if (test_frame) {
		*octet = ls_prbs(&prbs_register);
		return true;
	}
	while (!dry && ring_fill() != 0) {
		int v = ls_body(&core, ring_take());
		if (v >= 0) {
			*octet = (uint8_t)v;
			return true;
		}
		if (v == -2) {
			broken = ring[(ring_tail - 1) & (RING_SIZE - 1)];
			dry = true;
		}
	}
	if (!dry && ((kinds_head - kinds_tail) & (KINDS - 1)) > LATEST)
		return false; /* it may still come */
	dry = true;
	missing++;
	*octet = FILL;
	return true;
}

static void fill_kinds(void)
{
	while (((kinds_head - kinds_tail) & (KINDS - 1)) < KINDS - 2) {
		int kind = ls_slots_next(&sender);
		if (kind == LS_NEEDS) {
			uint8_t octet;
			if (!next_octet(&octet))
				return;
			ls_slots_feed(&sender, octet);
			continue;
		}
		kinds[kinds_head] = kind == LS_OVER ? END : (uint8_t)kind;
		kinds_head = (kinds_head + 1) & (KINDS - 1);
		if (kind == LS_OVER) {
			sender.state = 0xFF; /* asked no more */
			return;
		}
	}
}

static void send(uint8_t rate, uint16_t length)
{
	ls_slots_send(&sender, rate, length);
	missing = 0;
	broken = 0;
	dry = send_over = false;
	kinds_head = kinds_tail = 0;
	now_doing(SENDING);
	fill_kinds();
	ATOMIC
	{
		sent_tick = ls_led.event == LS_START || ls_led.event == LS_FILLED ? slot_start : slot_start + LS_SLOT;
		want = LS_SEND;
	}
	core.sent_start = board_now() + (uint16_t)(sent_tick - (uint16_t)clock_now);
}

static void sent(void)
{
	send_over = false;
	last_light = board_now();
	listen_anew();
	times_tail = times_head;
	if (test_frame) {
		test_frame = false;
		ls_tested(&core, core.test.length * 8u, 0);
		return;
	}
	ls_sent(&core, missing != 0 ? LS_DRY : LS_SENT, core.sent_start, missing, missing != 0 ? broken : 0);
}

/* The host's frame, when its time has come. */
static void try_to_send(void)
{
	uint32_t now = board_now();
	uint16_t need = core.tx.start < core.tx.length ? core.tx.start : core.tx.length;
	uint8_t status = LS_SENT;
	if (now - last_light < 2u * core.config.gap)
		return;
	if (need > LS_WINDOW - 2 * LS_UNIT)
		need = LS_WINDOW - 2 * LS_UNIT;
	if (ring_fill() < need) {
		if (now - pending_since < 100ul * TICKS_MS)
			return;
		status = LS_LATE;
	} else if (doing != QUIET) {
		if (core.tx.patience != 0 && now - pending_since < core.tx.patience * (uint32_t)TICKS_MS)
			return;
		if (core.tx.patience != 0) {
			core.stats.deferred++;
			status = LS_CARRIER;
		} else if (doing == ACQUIRING) {
			return; /* its slots are not known for some ms */
		} else if (doing == IN_FRAME) {
			frame_ends(false);
		}
	}
	pending = false;
	if (status != LS_SENT)
		ls_sent(&core, status, now, 0, 0);
	else
		send(core.tx.rate, core.tx.length);
}

static void serve_host(void)
{
	while (ring_fill() != 0 && !pending && doing != SENDING && !rx_open) {
		if (ls_octet(&core, ring_take())) {
			pending = true;
			pending_since = board_now();
		}
		if (core.hello) {
			core.hello = false;
			ATOMIC { ring_tail = ring_head; }
		}
		if (times_head != times_tail)
			return;
	}
}

void ls_led_start(void)
{
	slot_start = ls_led.due = chip_ticks() + 200;
}

bool ls_led_idle(void) { return times_head == times_tail && !acquired_all && !send_over; }

void ls_led_round(void)
{
	board_now();
	while (times_tail != times_head) {
		uint8_t time = times[times_tail];
		times_tail = (times_tail + 1) & (TIMES - 1);
		slot_passed(time);
	}
	if (in_step && clock_now - last_frame > 5000ul * TICKS_MS)
		in_step = false; /* clocks have moved on */
	if (doing == ACQUIRING && acquired_all) {
		acquired_all = false;
		slots_acquired();
	}
	if (doing == SENDING) {
		if (sender.state != 0xFF)
			fill_kinds();
		if (send_over)
			sent();
	}
	if (overran) {
		overran = false;
		core.stats.overruns++;
	}
	serve_host();
	if (pending)
		try_to_send();
	else if (core.test.mode == 1 && doing == QUIET && clock_now - last_light >= 2u * core.config.gap) {
		test_frame = true;
		prbs_register = 0x7F;
		send(core.test.rate, core.test.length);
	}
	watch_baud(doing == SENDING || rx_open);
}
