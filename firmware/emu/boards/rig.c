/* Boards that run the firmware, joined by light.
 *
 * The one that is behind in time runs next, for less than light takes from board to
 * board: that is 2.5 µs, longer than they ever are apart, so that no edge comes too late.
 * What a board is made of is another file's business (rig.h).
 *
 *   emu image=FILE [boards=2] [ppm=0,0,...] [jitter=NS] [distortion=NS] [usb=US] [seed=N] [trace=FILE] [pty=1 [clock=FILE] [boot=FILE]]
 *       [led=1 [dark=NS] [bright=NS] [noise=SHARE] [ripple=SHARE] [hz=100]]
 *
 * ppm: each board's clock against true time. jitter: rms of each edge at the
 * receiver where the light has full strength; it grows as the light weakens,
 * being noise over slew rate. distortion: by how much a light pulse is longer
 * than it was sent. usb: the host's end of each serial line is served at this
 * interval, as by a full-speed USB adapter.
 *
 * With led=1 the board's LED both sends and hears, cathode at B0, anode at B1: charged in
 * reverse it is discharged by light, in dark ns by the room's alone and in bright ns with
 * one neighbour's steady light more (gain 1). noise: rms of each discharge against its
 * length. ripple: amplitude of the room's light at hz against its mean.
 *
 * Without pty=1 the host's end is the caller, in simulated time: see serve().
 * With it each board is a terminal, named on standard output, and time runs no
 * faster than the clock on the wall. Where the machine is too slow for that, it runs
 * slower: clock tells, as text, how many ns have passed for the boards.
 *
 * With boot the boards have that boot loader and, unless there is an image, nothing else.
 * As on an Arduino, a program that opens the serial line thereby resets the board. */
#define _GNU_SOURCE
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { FLIGHT_NS = 2500, GLITCH_NS = 1000, LATE_NS = 20000000 };

/* The slicer: a comparator against the light's own mean over 50 µs, with hysteresis. */
static const double slicer_tau_ns = 50e3, slicer_hysteresis = 0.1;

static struct board boards[MAX_BOARDS];
static int board_count = 2;
static double gain[MAX_BOARDS][MAX_BOARDS];
bool led;
static double dark_ns = 118e3, bright_ns = 74e3, noise, ripple, ripple_hz = 100;
static double jitter_ns, distortion_ns, usb_ns = 1e6, now_ns;
static uint64_t rng = 1;
static FILE *trace;
static int clock_file = -1;
static const char *boot;

void die(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fputs("emu: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

double uniform(void) /* (0, 1) */
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return ((double)(rng >> 11) + 0.5) / 9007199254740992.0;
}

static double gaussian(void) { return sqrt(-2 * log(uniform())) * cos(2 * M_PI * uniform()); }

void append(struct octets *o, uint8_t v)
{
	if (o->from == o->to)
		o->from = o->to = 0;
	if (o->to == o->room) {
		o->room = o->room ? 2 * o->room : 4096;
		o->at = realloc(o->at, o->room);
		if (!o->at)
			die("no memory");
	}
	o->at[o->to++] = v;
}

double time_of(const struct board *b) { return (double)mcu_cycle(b) * b->cycle_ns; }

uint64_t cycle_at(const struct board *b, double ns) { return (uint64_t)ceil(ns / b->cycle_ns); }

static void at(struct board *b, double ns, enum timer timer)
{
	uint64_t when = cycle_at(b, ns), now = mcu_cycle(b);
	mcu_timer(b, timer, when > now ? when : now + 1);
	mcu_plan(b);
}

/* ------------------------------------------------------------- serial line */

/* The middle of the stop bit lies 9.5 bits from the start; half a bit off and it is read wrong. */
static bool misread(const struct board *b)
{
	return fabs(mcu_bit_ns(b) / b->host_bit_ns - 1) * 9.5 > 0.45;
}

static void start_arrival(struct board *b);

static void arrived(struct board *b)
{
	uint8_t v = b->to_board.at[b->to_board.from++];
	bool bad = misread(b);
	b->arriving = false;
	if (bad) {
		v = (uint8_t)(uniform() * 256);
		b->misread++;
	}
	mcu_octet(b, v, bad);
	start_arrival(b);
}

static void start_arrival(struct board *b)
{
	if (b->arriving || b->to_board.from == b->to_board.to)
		return;
	double start = fmax(time_of(b), b->line_free);
	b->arriving = true;
	b->arrival_start = start;
	b->line_free = start + 10 * b->host_bit_ns;
	at(b, start + 9.5 * b->host_bit_ns, ARRIVED);
}

void rig_send(struct board *b, uint8_t octet)
{
	b->shifting = true;
	b->shift = octet;
	at(b, time_of(b) + 10 * mcu_bit_ns(b), LEFT);
}

static void left(struct board *b)
{
	append(&b->to_host, misread(b) ? (uint8_t)(uniform() * 256) : b->shift);
	b->shifting = false;
	mcu_sent(b);
}

/* ------------------------------------------------------------------- light */

static void show_line(struct board *b) { mcu_line(b, b->line != b->glitch); }

static uint64_t edge_due(struct board *b)
{
	while (b->pending_used && cycle_at(b, b->pending[b->pending_from].at) <= mcu_cycle(b)) {
		b->line = b->pending[b->pending_from].light;
		b->pending_from = (b->pending_from + 1) % PENDING;
		b->pending_used--;
		show_line(b);
	}
	return b->pending_used ? cycle_at(b, b->pending[b->pending_from].at) : 0;
}

/* An edge of the comparator. If it would come before the one in front of it,
 * that pulse was too short to be seen: both vanish. */
static void comparator(struct board *b, double ns, bool light)
{
	int last = (b->pending_from + b->pending_used - 1) % PENDING;
	if (b->pending_used && b->pending[last].at >= ns) {
		b->pending_used--;
		b->lost += 2;
		return;
	}
	if (b->pending_used == PENDING) {
		b->lost++;
		return;
	}
	b->pending[(b->pending_from + b->pending_used++) % PENDING] = (struct edge){ns, light};
	if (b->pending_used == 1)
		at(b, ns, EDGE);
}

static void light_arrives(struct board *b, double ns, double power, double strength)
{
	b->mean += (b->received - b->mean) * (1 - exp(-(ns - b->mean_at) / slicer_tau_ns));
	b->mean_at = ns;
	b->received = power;
	double above = power - b->mean;
	bool light = above > slicer_hysteresis / 2 || (b->slicer && above > -slicer_hysteresis / 2);
	if (light == b->slicer)
		return;
	b->slicer = light;
	comparator(b, ns + FLIGHT_NS + (light ? -0.5 : 0.5) * distortion_ns + jitter_ns / strength * gaussian(), light);
}

/* What a person sees of a board's light: its mean level and the trace. */
static void show_eye(struct board *b, double ns, double level)
{
	if (level == b->eye)
		return;
	b->eye_sum += b->eye * (ns - b->eye_since);
	b->eye_since = ns;
	b->eye = level;
	if (trace)
		fprintf(trace, "%d %.0f %g\n", b->number, ns, level);
}

/* Timer 2 toggles D11 each other cycle: what the pin is in the mean is known. */
static bool blinks(const struct board *b) { return !led && mcu_blinks(b); }

/* --------------------------------------------------------- LED as receiver */

/* Charge that light takes, per ns. */
static double discharge_rate(const struct board *b, double ns)
{
	double lamp = b->ambient * (1 + ripple * sin(2e-9 * M_PI * ripple_hz * ns));
	return lamp / dark_ns + b->neighbours * (1 / bright_ns - 1 / dark_ns);
}

static void discharged(struct board *b)
{
	b->floating = false;
	b->charge = 0;
	mcu_discharged(b);
}

/* Takes off what light has taken until ns, and foresees the end. */
static void discharge(struct board *b, double ns)
{
	if (!b->floating)
		return;
	if (ns > b->charge_at) {
		b->charge -= (ns - b->charge_at) * discharge_rate(b, (ns + b->charge_at) / 2);
		b->charge_at = ns;
	}
	at(b, b->charge_at + fmax(0, b->charge) / discharge_rate(b, b->charge_at), DISCHARGED);
}

static uint64_t light_due(struct board *b)
{
	while (b->light_used && cycle_at(b, b->arriving_light[b->light_from].at) <= mcu_cycle(b)) {
		struct power p = b->arriving_light[b->light_from];
		b->light_from = (b->light_from + 1) % PENDING;
		b->light_used--;
		discharge(b, p.at); /* with the light until now */
		b->neighbours = p.power;
		discharge(b, p.at);
	}
	return b->light_used ? cycle_at(b, b->arriving_light[b->light_from].at) : 0;
}

static void light_reaches_led(struct board *to, double ns)
{
	double power = 0;
	for (int j = 0; j < board_count; j++)
		if (j != to->number)
			power += gain[j][to->number] * boards[j].level;
	if (to->light_used == PENDING)
		die("board %d: more light than it has memory for", to->number);
	to->arriving_light[(to->light_from + to->light_used++) % PENDING] = (struct power){ns + FLIGHT_NS, power};
	if (to->light_used == 1)
		at(to, ns + FLIGHT_NS, LIGHT);
}

void rig_led(struct board *b, uint8_t port, uint8_t ddr)
{
	double t = time_of(b);
	b->port = port;
	b->ddr = ddr;
	bool driven = b->ddr & CATHODE;
	if (driven && b->floating) {
		b->floating = false;
		mcu_timer(b, DISCHARGED, 0);
		mcu_plan(b);
	}
	if (driven)
		b->charge = b->port & CATHODE ? 1 : 0;
	else if (!b->floating && b->charge > 0) {
		b->floating = true;
		b->charge = 1 + noise * gaussian();
		b->charge_at = t;
		discharge(b, t);
	}
	double level = (b->ddr & (CATHODE | ANODE)) == (CATHODE | ANODE) && (b->port & (CATHODE | ANODE)) == ANODE;
	if (level == b->level)
		return;
	b->level = level;
	b->edges++;
	show_eye(b, t, level);
	for (int i = 0; i < board_count; i++)
		if (i != b->number && gain[b->number][i] != 0)
			light_reaches_led(&boards[i], t);
}

void rig_flush(struct board *b)
{
	if (!b->pins_changed)
		return;
	b->pins_changed = false;
	double level = 0.5 * (b->pins & 1) + 0.5 * (b->pins >> 1);
	if (!blinks(b))
		show_eye(b, b->pins_at, level);
	if (level == b->level)
		return;
	uint64_t cycle = (uint64_t)llround(b->pins_at / b->cycle_ns);
	b->level = level;
	b->edges++;
	/* Inside a frame every edge lies on a grid of 16 cycles. */
	if (cycle - b->last_change > 1500)
		b->anchor = cycle;
	else if ((cycle - b->anchor) % 16)
		b->late_edges++;
	b->last_change = cycle;
	for (int i = 0; i < board_count; i++) {
		struct board *to = &boards[i];
		if (to == b || gain[b->number][i] == 0)
			continue;
		double power = 0;
		for (int j = 0; j < board_count; j++)
			if (j != i)
				power += gain[j][i] * boards[j].level;
		light_arrives(to, b->pins_at, power, gain[b->number][i]);
	}
}

void rig_pin(struct board *b, uint8_t pin, bool high)
{
	double t = time_of(b);
	if (b->pins_changed && t > b->pins_at)
		rig_flush(b);
	uint8_t pins = (uint8_t)((b->pins & ~pin) | (high ? pin : 0));
	if (pins == b->pins)
		return;
	b->pins = pins;
	b->pins_at = t;
	b->pins_changed = true;
}

/* A comparator without enough hysteresis: it toggles by itself. */
static uint64_t chatter(struct board *b)
{
	if (b->chatter_ns == 0)
		return 0;
	b->slicer = !b->slicer;
	comparator(b, time_of(b) + FLIGHT_NS, b->slicer);
	/* pulses of 0.3 to 50 µs, as many in each octave */
	return mcu_cycle(b) + 1 + (uint64_t)(300 * pow(50e3 / 300, uniform()) / b->cycle_ns);
}

/* Wrong chips: for 1 µs at random times the comparator shows the opposite. */
static uint64_t glitch(struct board *b)
{
	if (!b->glitch && b->glitch_ns == 0) {
		b->glitching = false;
		return 0;
	}
	b->glitch = !b->glitch;
	show_line(b);
	double ns = b->glitch ? GLITCH_NS : -b->glitch_ns * log(uniform());
	return mcu_cycle(b) + 1 + (uint64_t)(ns / b->cycle_ns);
}

/* -------------------------------------------------------------------- time */

uint64_t rig_timer(struct board *b, enum timer timer)
{
	switch (timer) {
	case ARRIVED:
		arrived(b);
		return 0;
	case LEFT:
		left(b);
		return 0;
	case EDGE:
		return edge_due(b);
	case DISCHARGED:
		discharged(b);
		return 0;
	case LIGHT:
		return light_due(b);
	case CHATTER:
		return chatter(b);
	default:
		return glitch(b);
	}
}

void rig_reset(struct board *b)
{
	b->shifting = b->arriving = b->glitching = false;
	b->to_board.from = b->to_board.to;
	b->line = b->pending_used ? b->pending[(b->pending_from + b->pending_used - 1) % PENDING].light : b->line;
	b->pending_used = b->light_used = 0;
	b->pins_changed = b->floating = false;
}

static void run_until(double ns)
{
	for (int i = 0; i < board_count; i++)
		mcu_plan(&boards[i]);
	for (;;) {
		struct board *b = &boards[0];
		for (int i = 1; i < board_count; i++)
			if (boards[i].due < b->due)
				b = &boards[i];
		if (b->due >= ns)
			break;
		mcu_run(b);
		rig_flush(b);
		show_eye(b, time_of(b), blinks(b) ? 0.25 + 0.5 * (b->pins >> 1) : b->level);
	}
	for (int i = 0; i < board_count; i++)
		mcu_pass(&boards[i], cycle_at(&boards[i], ns));
}

static void start_board(struct board *b, const char *image, double ppm)
{
	b->cycle_ns = 62.5 / (1 + ppm * 1e-6);
	b->host_bit_ns = 1e9 / 115200;
	b->ambient = 1;
	mcu_start(b, image, boot);
}

static void usb_frame(void)
{
	for (int i = 0; i < board_count; i++) {
		struct board *b = &boards[i];
		while (b->from_host.from != b->from_host.to)
			append(&b->to_board, b->from_host.at[b->from_host.from++]);
		start_arrival(b);
	}
	now_ns += usb_ns;
	run_until(now_ns);
}

/* ---------------------------------------------- the host's end: the caller */

static void get(void *p, size_t n)
{
	if (fread(p, 1, n, stdin) != n)
		exit(0); /* the caller is gone */
}

static void put(const void *p, size_t n)
{
	if (n && fwrite(p, 1, n, stdout) != n)
		exit(1);
}

struct __attribute__((packed)) report {
	double time_ns, mean_level;
	uint64_t cycles, edges, late_edges, asleep;
	uint32_t overruns, overwritten, misread, edges_lost, unread, stack;
};

static struct board *which(void)
{
	uint8_t i;
	get(&i, 1);
	if (i >= board_count)
		die("no board %d", i);
	return &boards[i];
}

/* Commands on standard input; numbers little-endian.
 *   S  for each board: u16 n, n octets that the host writes. One USB frame passes; the
 *      answer is for each board: u16 n, n octets that the host reads
 *   G  u8 from, u8 to, f64 gain: the light's strength from one board to another; 0 is a hand in the beam
 *   U  u8 board, u32 baud: the speed of the host's end
 *   C  u8 board, u8 on: its comparator chatters
 *   E  u8 board, f64 share: so large a share of its comparator's time is spent in glitches
 *   A  u8 board, f64: the room's light at its LED, 1 at the start
 *   Q  u8 board: the answer is a report; the mean level is since the last one */
static void serve(void)
{
	for (;;) {
		char command;
		get(&command, 1);
		switch (command) {
		case 'S':
			for (int i = 0; i < board_count; i++) {
				uint16_t n;
				get(&n, 2);
				for (uint8_t v; n; n--) {
					get(&v, 1);
					append(&boards[i].from_host, v);
				}
			}
			usb_frame();
			for (int i = 0; i < board_count; i++) {
				struct octets *o = &boards[i].to_host;
				size_t n = o->to - o->from;
				uint16_t u = (uint16_t)(n > 65535 ? 65535 : n);
				put(&u, 2);
				put(o->at + o->from, u);
				o->from += u;
			}
			fflush(stdout);
			break;
		case 'G': {
			struct board *from = which(), *to = which();
			get(&gain[from->number][to->number], sizeof(double));
			if (led) {
				light_reaches_led(to, now_ns);
				break;
			}
			double power = 0;
			for (int j = 0; j < board_count; j++)
				if (j != to->number)
					power += gain[j][to->number] * boards[j].level;
			light_arrives(to, now_ns, power, 1);
			break;
		}
		case 'U': {
			struct board *b = which();
			uint32_t baud;
			get(&baud, 4);
			if (baud == 0)
				die("no speed");
			b->host_bit_ns = 1e9 / baud;
			break;
		}
		case 'C': {
			struct board *b = which();
			uint8_t on;
			get(&on, 1);
			b->chatter_ns = on;
			if (on)
				mcu_timer(b, CHATTER, mcu_cycle(b) + 1);
			break;
		}
		case 'E': {
			struct board *b = which();
			double share;
			get(&share, sizeof share);
			b->glitch_ns = share > 0 ? GLITCH_NS / share - GLITCH_NS : 0;
			if (share > 0 && !b->glitching) {
				b->glitching = true;
				mcu_timer(b, GLITCH, mcu_cycle(b) + 1);
			}
			break;
		}
		case 'A': {
			struct board *b = which();
			discharge(b, now_ns);
			get(&b->ambient, sizeof b->ambient);
			discharge(b, now_ns);
			break;
		}
		case 'Q': {
			struct board *b = which();
			b->eye_sum += b->eye * (now_ns - b->eye_since);
			struct report r = {
				.time_ns = now_ns, .mean_level = b->eye_sum / fmax(1, now_ns - b->eye_started),
				.cycles = mcu_cycle(b), .edges = b->edges, .late_edges = b->late_edges, .asleep = b->asleep,
				.overruns = b->overruns, .overwritten = b->overwritten, .misread = b->misread, .edges_lost = b->lost,
				.unread = (uint32_t)(b->to_board.to - b->to_board.from), .stack = b->stack,
			};
			b->eye_sum = 0;
			b->eye_since = b->eye_started = now_ns;
			put(&r, sizeof r);
			fflush(stdout);
			break;
		}
		default:
			die("no command %d", command);
		}
	}
}

/* -------------------------------------------- the host's end: terminals */

static void open_pty(struct board *b)
{
	char name[256];
	struct termios raw;
	int slave;
	cfmakeraw(memset(&raw, 0, sizeof raw));
	cfsetspeed(&raw, B115200);
	if (openpty(&b->pty, &slave, name, &raw, NULL) != 0)
		die("no pseudo-terminal: %s", strerror(errno));
	fcntl(b->pty, F_SETFL, O_NONBLOCK);
	/* The slave stays open here, or the master would fail whenever no program has it.
	 * With a boot loader just that is wanted: it shows when one opens the line. */
	if (boot)
		close(slave);
	printf("board %d %s\n", b->number, name);
	fflush(stdout);
}

static uint32_t speed_of(int pty)
{
	static const struct { speed_t code; uint32_t baud; } speeds[] = {
		{B115200, 115200}, {B500000, 500000}, {B1000000, 1000000}, {B2000000, 2000000}};
	struct termios t;
	if (tcgetattr(pty, &t) == 0)
		for (size_t i = 0; i < sizeof speeds / sizeof *speeds; i++)
			if (cfgetospeed(&t) == speeds[i].code)
				return speeds[i].baud;
	return 115200;
}

static void ended(int signal)
{
	(void)signal;
	_exit(0);
}

static void serve_ptys(void)
{
	signal(SIGTERM, ended);
	struct timespec start, t;
	struct stat in;
	bool watched = fstat(0, &in) == 0 && S_ISFIFO(in.st_mode);
	for (int i = 0; i < board_count; i++)
		open_pty(&boards[i]);
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (;;) {
		for (int i = 0; i < board_count; i++) {
			struct board *b = &boards[i];
			uint8_t buffer[4096];
			b->host_bit_ns = 1e9 / speed_of(b->pty);
			/* No more than the line takes, or a program's writes would never block. */
			double backlog = (double)(b->to_board.to - b->to_board.from) * 10 * b->host_bit_ns;
			ssize_t n = backlog < 4 * usb_ns ? read(b->pty, buffer, sizeof buffer) : 0;
			if (boot) {
				struct pollfd line = {.fd = b->pty, .events = POLLIN};
				bool open = poll(&line, 1, 0) >= 0 && !(line.revents & POLLHUP);
				if (open && !b->opened) {
					mcu_press_reset(b);
					b->to_host.from = b->to_host.to;
				}
				b->opened = open;
			}
			for (ssize_t j = 0; j < n; j++)
				append(&b->from_host, buffer[j]);
		}
		usb_frame();
		for (int i = 0; i < board_count; i++) {
			struct octets *o = &boards[i].to_host;
			if (o->from == o->to)
				continue;
			ssize_t n = write(boards[i].pty, o->at + o->from, o->to - o->from);
			if (n > 0)
				o->from += (size_t)n;
		}
		char text[32];
		int n = snprintf(text, sizeof text, "%020.0f\n", now_ns);
		if (clock_file >= 0 && pwrite(clock_file, text, (size_t)n, 0) != n)
			die("clock: %s", strerror(errno));
		clock_gettime(CLOCK_MONOTONIC, &t);
		double ahead = now_ns - ((double)(t.tv_sec - start.tv_sec) * 1e9 + (double)(t.tv_nsec - start.tv_nsec));
		if (ahead < -LATE_NS) /* no hurry to catch up: programs would see the boards' time run too fast */
			start.tv_nsec += (long)(-ahead - LATE_NS);
		while (start.tv_nsec >= 1000000000) {
			start.tv_nsec -= 1000000000;
			start.tv_sec++;
		}
		if (ahead > 0)
			nanosleep(&(struct timespec){(time_t)(ahead / 1e9), (long)fmod(ahead, 1e9)}, NULL);
		struct pollfd caller = {.fd = 0};
		if (watched && poll(&caller, 1, 0) == 1)
			exit(0); /* the pipe to whoever started us is broken */
	}
}

int main(int argc, char **argv)
{
	const char *image = NULL, *ppm = "";
	bool ptys = false;
	for (int i = 1; i < argc; i++) {
		char *value = strchr(argv[i], '=');
		if (!value)
			die("%s: not name=value", argv[i]);
		*value++ = 0;
		if (!strcmp(argv[i], "image"))
			image = value;
		else if (!strcmp(argv[i], "boards"))
			board_count = atoi(value);
		else if (!strcmp(argv[i], "ppm"))
			ppm = value;
		else if (!strcmp(argv[i], "jitter"))
			jitter_ns = atof(value);
		else if (!strcmp(argv[i], "distortion"))
			distortion_ns = atof(value);
		else if (!strcmp(argv[i], "usb"))
			usb_ns = atof(value) * 1e3;
		else if (!strcmp(argv[i], "led"))
			led = atoi(value) != 0;
		else if (!strcmp(argv[i], "dark"))
			dark_ns = atof(value);
		else if (!strcmp(argv[i], "bright"))
			bright_ns = atof(value);
		else if (!strcmp(argv[i], "noise"))
			noise = atof(value);
		else if (!strcmp(argv[i], "ripple"))
			ripple = atof(value);
		else if (!strcmp(argv[i], "hz"))
			ripple_hz = atof(value);
		else if (!strcmp(argv[i], "seed"))
			rng = strtoull(value, NULL, 10) * 0x9E3779B97F4A7C15u | 1;
		else if (!strcmp(argv[i], "trace")) {
			if (!(trace = fopen(value, "w")))
				die("%s: %s", value, strerror(errno));
		} else if (!strcmp(argv[i], "boot")) {
			boot = value;
		} else if (!strcmp(argv[i], "clock")) {
			if ((clock_file = open(value, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)) < 0)
				die("%s: %s", value, strerror(errno));
		} else if (!strcmp(argv[i], "pty"))
			ptys = atoi(value) != 0;
		else
			die("%s: no such setting", argv[i]);
	}
	if (bright_ns <= 0 || bright_ns >= dark_ns || noise < 0 || ripple < 0 || ripple >= 1)
		die("0 < bright < dark, noise of at least 0, 0 <= ripple < 1");
	if ((!image && !boot) || board_count < 1 || board_count > MAX_BOARDS || usb_ns < 1e4)
		die("image=FILE or boot=FILE, 1 to %d boards, usb of at least 10 µs", MAX_BOARDS);
	for (int i = 0; i < board_count; i++) {
		char *rest;
		double p = strtod(ppm, &rest);
		ppm = *rest == ',' ? rest + 1 : rest;
		boards[i].number = i;
		start_board(&boards[i], image, p);
		for (int j = 0; j < board_count; j++)
			gain[i][j] = 1;
	}
	if (ptys)
		serve_ptys();
	serve();
}
