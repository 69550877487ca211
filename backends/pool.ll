; The threads that run parallel loops: what TVM's kernels call instead of TVMBackendParallelLaunch.
;
; A launch opens the gate. Threads that come by enter, take tasks until none is left, and leave. The caller takes tasks as
; well, then closes the gate and waits for those inside only: a thread that gets no processor (because another program has
; it) is not waited for, and a slow one leaves its share to the others. `pool.py` starts the threads. One launch at a time:
; the model that owns the library sees to it.
;
; The caller takes tasks from the front, the others from the back: mostly, so that what one kernel leaves in the cache of a
; processor is what the next one reads there.
;
; Where another program's thread wants the same processor, a clock tick may interrupt a task for milliseconds, and the caller
; waits. A thread therefore gives its processor up by itself, outside of the gate, when it has worked for some 0.3 ms:
; then the caller has its tasks. Nobody notices where nobody else wants the processor.
;
; Waking a thread takes the caller 15 us on a virtual machine, and the thread comes 45 us later: longer than most kernels
; of a small model run. A thread therefore looks out for the next launch for some 200 us before it sleeps on the word, after
; 20 us with its processor offered to others at each look. Those that sleep are woken only if the call of the model is long
; enough, which nobody knows: at once if as much is left as pays for it by the last call's time, else when the call has taken
; as long as that, together with those right before it: the threads stay awake from one such call to the next. The caller
; wakes two threads, and each of them two more.

%group = type { ptr, i32 }                        ; TVMParallelGroupEnv: an unused handle, and the number of tasks

@word     = internal global i32 0, align 64       ; counts launches; idle threads sleep on it
@sleepers = internal global i32 0, align 64
@waiting  = internal global i32 0                 ; the caller sleeps on the gate
@expected = internal global i64 0                 ; what the last call spent
@earlier  = internal global i64 0                 ; what the calls right before this one spent
@closed   = internal global i64 0                 ; when the gate was closed the last time
@most     = internal global i64 9223372036854775807  ; tasks of the next launch, at most
@stopped  = internal global i32 0
@failed   = internal global i32 0

; What a thread reads when it enters lies in one cache line: each takes some 35 ns from one processor to another, or 170
; where they share no cache.
%door = type { i32, i32, ptr, ptr, %group }
@door    = internal global %door { i32 -2147483648, i32 1, ptr null, ptr null, %group zeroinitializer }, align 64
@gate    = internal alias i32, ptr @door  ; threads inside, plus the sign bit while it is closed
@threads = internal alias i32, getelementptr inbounds (%door, ptr @door, i32 0, i32 1)  ; how many may work, with the caller
@task    = internal alias ptr, getelementptr inbounds (%door, ptr @door, i32 0, i32 2)
@data    = internal alias ptr, getelementptr inbounds (%door, ptr @door, i32 0, i32 3)
@tasks   = internal alias %group, getelementptr inbounds (%door, ptr @door, i32 0, i32 4)

; So does what every thread writes to when it takes tasks, and when it leaves.
%counts = type { i64, i64 }
@counts = internal global %counts { i64 0, i64 4611686018427387904 }, align 64
@taken  = internal alias i64, ptr @counts  ; tasks from the front, for the caller; in the upper half from the back
@spent  = internal alias i64, getelementptr inbounds (%counts, ptr @counts, i32 0, i32 1)  ; clock ticks of all in this call

declare i64 @syscall(i64, ...)
declare void @llvm.x86.sse2.pause()
declare i64 @llvm.readcyclecounter()

define internal void @wake(ptr %where, i32 %most) {
  %r = call i64 (i64, ...) @syscall(i64 202, ptr %where, i32 129, i32 %most)  ; futex, FUTEX_WAKE_PRIVATE
  ret void
}

define internal void @sleep(ptr %where, i32 %expected) {
  %r = call i64 (i64, ...) @syscall(i64 202, ptr %where, i32 128, i32 %expected, ptr null)  ; FUTEX_WAIT_PRIVATE
  ret void
}

define internal void @yield() {
  %r = call i64 (i64, ...) @syscall(i64 24)  ; sched_yield
  ret void
}

; Whether `most` ticks have not passed since then.
define internal i1 @within(i64 %most, i64 %since) {
  %now = call i64 @llvm.readcyclecounter()
  %passed = sub i64 %now, %since
  %within = icmp slt i64 %passed, %most
  ret i1 %within
}

; Run tasks until none is left, or some 0.3 ms after `rested`. Sleeping threads are woken after `patience` ticks. `one` is
; what to add to `taken` for a task.
;
; Who takes a task waits for the cache line of `taken`, which others have just written to. After its first task a thread
; therefore takes several, up to its part of a half of what is left (guided self-scheduling, Polychronopoulos and Kuck,
; IEEE Transactions on Computers, 1987), but no more than some 50 us of work, by the time that the last ones took.
define internal void @work(i64 %one, i64 %patience, i64 %rested) {
entry:
  %task = load ptr, ptr @task
  %data = load ptr, ptr @data
  %count = load i32, ptr getelementptr inbounds (%group, ptr @tasks, i32 0, i32 1)
  %threads = load atomic i32, ptr @threads monotonic, align 4
  %parts = shl i32 %threads, 1
  %last = sub i32 %count, 1
  %first = icmp eq i64 %one, 1
  %start = call i64 @llvm.readcyclecounter()
  br label %take
take:
  %wait = phi i64 [ %patience, %entry ], [ %wait, %go ], [ 9223372036854775807, %rouse ]
  %ticks = phi i64 [ 0, %entry ], [ %passed, %go ], [ %passed, %rouse ]
  %since = phi i64 [ %start, %entry ], [ %now, %go ], [ %now, %rouse ]
  %grab = phi i32 [ 1, %entry ], [ %several, %go ], [ %several, %rouse ]
  %wide = zext i32 %grab to i64
  %all_of_them = mul i64 %one, %wide
  %taken = atomicrmw add ptr @taken, i64 %all_of_them monotonic
  %front = trunc i64 %taken to i32
  %high = lshr i64 %taken, 32
  %back = trunc i64 %high to i32
  %gone = add i32 %front, %back
  %left = sub i32 %count, %gone
  %more = icmp sgt i32 %left, 0
  %fewer = icmp slt i32 %left, %grab
  %got = select i1 %fewer, i32 %left, i32 %grab
  %behind = sub i32 %last, %back
  br i1 %more, label %run, label %done
run:
  %i = phi i32 [ 0, %take ], [ %next, %ran ]
  %forward = add i32 %front, %i
  %backward = sub i32 %behind, %i
  %number = select i1 %first, i32 %forward, i32 %backward
  %code = call i32 %task(i32 %number, ptr @tasks, ptr %data)
  %bad = icmp ne i32 %code, 0
  br i1 %bad, label %fail, label %ran
fail:
  store atomic i32 %code, ptr @failed monotonic, align 4
  br label %ran
ran:
  %next = add i32 %i, 1
  %again = icmp slt i32 %next, %got
  br i1 %again, label %run, label %time
time:
  %now = call i64 @llvm.readcyclecounter()
  %passed = sub i64 %now, %start
  %awake = sub i64 %now, %rested
  %tired = icmp sgt i64 %awake, 1000000            ; some 0.3 ms
  br i1 %tired, label %done, label %go
go:
  %took = sub i64 %now, %since
  %many = zext i32 %got to i64
  %quick = mul i64 %many, 150000                   ; some 50 us
  %some = or i64 %took, 1
  %soon = udiv i64 %quick, %some
  %rest = sub i32 %left, %got
  %part = udiv i32 %rest, %parts
  %fair = zext i32 %part to i64
  %short = icmp ult i64 %soon, %fair
  %least = select i1 %short, i64 %soon, i64 %fair
  %none = icmp eq i64 %least, 0
  %chosen = select i1 %none, i64 1, i64 %least
  %several = trunc i64 %chosen to i32
  %enough = icmp sgt i64 %passed, %wait
  br i1 %enough, label %rouse, label %take
rouse:
  call void @wake(ptr @word, i32 2)
  br label %take
done:
  %all = phi i64 [ %ticks, %take ], [ %passed, %time ]
  %spent = atomicrmw add ptr @spent, i64 %all monotonic
  ret void
}

; For how many ticks the caller goes on before it wakes sleeping threads.
define internal i64 @patience() {
  %asleep = load atomic i32, ptr @sleepers seq_cst, align 4
  %none = icmp eq i32 %asleep, 0
  %spent = load atomic i64, ptr @spent monotonic, align 8
  %expected = load i64, ptr @expected
  %left = sub i64 %expected, %spent
  %known = icmp sgt i64 %left, 300000             ; some 100 us
  %earlier = load i64, ptr @earlier
  %alone = add i64 %spent, %earlier
  %lasting = sub i64 300000, %alone
  %long = select i1 %known, i64 -1, i64 %lasting
  %patience = select i1 %none, i64 9223372036854775807, i64 %long
  ret i64 %patience
}

; A call of the model begins.
define void @tilewright_pool_use(i32 %threads) {
  store atomic i32 %threads, ptr @threads seq_cst, align 4
  %spent = load atomic i64, ptr @spent monotonic, align 8
  store i64 %spent, ptr @expected
  %earlier = load i64, ptr @earlier
  %row = add i64 %earlier, %spent
  %closed = load i64, ptr @closed
  %next = call i1 @within(i64 600000, i64 %closed)  ; while awake threads would look out for it
  %before = select i1 %next, i64 %row, i64 0
  store i64 %before, ptr @earlier
  store atomic i64 0, ptr @spent monotonic, align 8
  ret void
}

; The next launch has so many tasks at most. Of a single one, nobody but the caller hears.
define i32 @tilewright_pool_tasks(i64 %most) {
  store i64 %most, ptr @most
  ret i32 0
}

; Into how many shares so many tasks are divided: about 8 a thread, from half to twice that, which evens out threads of
; unequal speed. Up to four sizes of a share are tried, downwards from that of 8 a thread; the one wins with which threads of
; equal speed end first. Nobody may have told how many tasks there are: then the number is vast.
define internal i32 @shares(i64 %tasks, i32 %threads) {
entry:
  %width = sext i32 %threads to i64
  %many = shl i64 %width, 3
  %below = sub i64 %many, 1
  %vast = icmp sgt i64 %tasks, 2147483647
  br i1 %vast, label %most, label %some
most:
  %eight = trunc i64 %many to i32
  ret i32 %eight
some:
  %padded = add i64 %tasks, %below
  %large = udiv i64 %padded, %many
  %odd = add i64 %large, 1
  %half = lshr i64 %odd, 1
  br label %try
try:
  %size = phi i64 [ %large, %some ], [ %smaller, %try ]
  %tried = phi i64 [ 0, %some ], [ %next, %try ]
  %least = phi i64 [ 9223372036854775807, %some ], [ %longest, %try ]
  %best = phi i64 [ 1, %some ], [ %chosen, %try ]
  %over = add i64 %size, -1
  %filled = add i64 %tasks, %over
  %count = udiv i64 %filled, %size
  %spread = add i64 %count, %width
  %fewer = sub i64 %spread, 1
  %rounds = udiv i64 %fewer, %width
  %length = mul i64 %rounds, %size
  %better = icmp slt i64 %length, %least
  %longest = select i1 %better, i64 %length, i64 %least
  %chosen = select i1 %better, i64 %count, i64 %best
  %next = add i64 %tried, 1
  %smaller = sub i64 %size, 1
  %whole = icmp uge i64 %smaller, %half
  %on = icmp ult i64 %next, 4
  %again = and i1 %whole, %on
  br i1 %again, label %try, label %end
end:
  %found = trunc i64 %chosen to i32
  ret i32 %found
}

; int launch(int (*task)(int number, TVMParallelGroupEnv*, void* data), void* data, int unused)
define i32 @tilewright_pool_launch(ptr %task, ptr %data, i32 %unused) {
entry:
  %threads = load i32, ptr @threads
  %most = load i64, ptr @most
  store i64 9223372036854775807, ptr @most
  %lonely = icmp sle i32 %threads, 1
  %indivisible = icmp sle i64 %most, 1
  %single = or i1 %lonely, %indivisible
  br i1 %single, label %prepare, label %divide
divide:
  %shares = call i32 @shares(i64 %most, i32 %threads)
  br label %prepare
prepare:
  %count = phi i32 [ 1, %entry ], [ %shares, %divide ]
  store ptr %task, ptr @task
  store ptr %data, ptr @data
  store i32 %count, ptr getelementptr inbounds (%group, ptr @tasks, i32 0, i32 1)
  store i64 0, ptr @taken
  store i32 0, ptr @failed
  store i32 0, ptr @waiting
  br i1 %single, label %alone, label %open
alone:
  call void @work(i64 1, i64 9223372036854775807, i64 9223372036854775807)
  br label %finish
open:
  store atomic i32 0, ptr @gate seq_cst, align 4
  %launch = atomicrmw add ptr @word, i32 1 seq_cst
  %patience = call i64 @patience()
  %none = icmp slt i64 %patience, 0
  br i1 %none, label %rouse, label %join
rouse:
  call void @wake(ptr @word, i32 2)
  br label %join
join:
  %rest = select i1 %none, i64 9223372036854775807, i64 %patience
  call void @work(i64 1, i64 %rest, i64 9223372036854775807)
  %closing = atomicrmw or ptr @gate, i32 -2147483648 seq_cst
  %closed = call i64 @llvm.readcyclecounter()
  store i64 %closed, ptr @closed
  br label %check
check:
  %state = load atomic i32, ptr @gate seq_cst, align 4
  %empty = icmp eq i32 %state, -2147483648
  br i1 %empty, label %finish, label %wait
wait:
  %patient = call i1 @within(i64 150000, i64 %closed)  ; some 50 us
  br i1 %patient, label %pause, label %doze
pause:
  call void @llvm.x86.sse2.pause()
  br label %check
doze:                                             ; frees a processor for the thread that is waited for
  store atomic i32 1, ptr @waiting seq_cst, align 4
  call void @sleep(ptr @gate, i32 %state)
  br label %check
finish:
  %code = load atomic i32, ptr @failed seq_cst, align 4
  ret i32 %code
}

; The life of one thread; returns after tilewright_pool_stop.
define void @tilewright_pool_work() {
entry:
  %rested = alloca i64
  %start = call i64 @llvm.readcyclecounter()
  store i64 %start, ptr %rested
  br label %await
await:
  %seen = phi i32 [ 0, %entry ], [ %now, %again ]
  %since = call i64 @llvm.readcyclecounter()
  br label %watch
watch:
  %word = load atomic i32, ptr @word seq_cst, align 4
  %same = icmp eq i32 %word, %seen
  br i1 %same, label %idle, label %look
idle:
  %fresh = call i1 @within(i64 60000, i64 %since)  ; some 20 us
  br i1 %fresh, label %pause, label %linger
pause:
  call void @llvm.x86.sse2.pause()
  br label %watch
linger:
  %awake = call i1 @within(i64 600000, i64 %since)  ; some 200 us
  br i1 %awake, label %offer, label %rest
offer:                                            ; the processor to whoever else wants it
  call void @yield()
  %offered = call i64 @llvm.readcyclecounter()
  store i64 %offered, ptr %rested
  br label %watch
rest:
  %more = atomicrmw add ptr @sleepers, i32 1 seq_cst
  call void @sleep(ptr @word, i32 %seen)
  %woken = call i64 @llvm.readcyclecounter()
  store i64 %woken, ptr %rested
  %before = atomicrmw sub ptr @sleepers, i32 1 seq_cst
  %open = load atomic i32, ptr @gate seq_cst, align 4
  %useful = icmp sge i32 %open, 0
  %others = icmp sgt i32 %before, 1
  %spread = and i1 %useful, %others
  br i1 %spread, label %rouse, label %look
rouse:
  call void @wake(ptr @word, i32 2)
  br label %look
look:
  %now = load atomic i32, ptr @word seq_cst, align 4
  %stop = load atomic i32, ptr @stopped seq_cst, align 4
  %quit = icmp ne i32 %stop, 0
  br i1 %quit, label %end, label %gate
gate:
  %state = load atomic i32, ptr @gate seq_cst, align 4
  %threads = load atomic i32, ptr @threads seq_cst, align 4
  %most = sub i32 %threads, 1
  %closed = icmp slt i32 %state, 0
  %full = icmp sge i32 %state, %most
  %barred = or i1 %closed, %full
  br i1 %barred, label %again, label %enter
enter:
  %inside = add i32 %state, 1
  %swap = cmpxchg ptr @gate, i32 %state, i32 %inside seq_cst seq_cst
  %entered = extractvalue { i32, i1 } %swap, 1
  br i1 %entered, label %help, label %gate
help:
  %began = load i64, ptr %rested
  call void @work(i64 4294967296, i64 9223372036854775807, i64 %began)
  %inmates = atomicrmw sub ptr @gate, i32 1 seq_cst
  %emptied = icmp eq i32 %inmates, -2147483647
  br i1 %emptied, label %leave, label %again
leave:
  %waiting = load atomic i32, ptr @waiting seq_cst, align 4
  %asleep = icmp ne i32 %waiting, 0
  br i1 %asleep, label %report, label %again
report:
  call void @wake(ptr @gate, i32 1)
  br label %again
again:
  %last = load i64, ptr %rested
  %time = call i64 @llvm.readcyclecounter()
  %awaking = sub i64 %time, %last
  %tired = icmp sgt i64 %awaking, 1000000
  br i1 %tired, label %yield, label %await
yield:
  call void @yield()
  %after = call i64 @llvm.readcyclecounter()
  store i64 %after, ptr %rested
  br label %look
end:
  ret void
}

define void @tilewright_pool_stop() {
  store atomic i32 1, ptr @stopped seq_cst, align 4
  %launch = atomicrmw add ptr @word, i32 1 seq_cst
  call void @wake(ptr @word, i32 2147483647)
  ret void
}
