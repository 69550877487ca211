; Copies past the caches, for results that are larger than these: a line that is written whole need not be read first, and
; what the caches hold stays there. `to` and `from` begin at multiples of 16 bytes.

declare void @llvm.x86.sse.sfence()

define void @tilewright_stream(ptr %to, ptr %from, i64 %bytes) {
entry:
  %whole = and i64 %bytes, -64
  %some = icmp ne i64 %whole, 0
  br i1 %some, label %line, label %rest
line:
  %i = phi i64 [ 0, %entry ], [ %following, %line ]
  %i1 = add i64 %i, 16
  %i2 = add i64 %i, 32
  %i3 = add i64 %i, 48
  %f0 = getelementptr i8, ptr %from, i64 %i
  %f1 = getelementptr i8, ptr %from, i64 %i1
  %f2 = getelementptr i8, ptr %from, i64 %i2
  %f3 = getelementptr i8, ptr %from, i64 %i3
  %v0 = load <2 x i64>, ptr %f0, align 16
  %v1 = load <2 x i64>, ptr %f1, align 16
  %v2 = load <2 x i64>, ptr %f2, align 16
  %v3 = load <2 x i64>, ptr %f3, align 16
  %t0 = getelementptr i8, ptr %to, i64 %i
  %t1 = getelementptr i8, ptr %to, i64 %i1
  %t2 = getelementptr i8, ptr %to, i64 %i2
  %t3 = getelementptr i8, ptr %to, i64 %i3
  store <2 x i64> %v0, ptr %t0, align 16, !nontemporal !0
  store <2 x i64> %v1, ptr %t1, align 16, !nontemporal !0
  store <2 x i64> %v2, ptr %t2, align 16, !nontemporal !0
  store <2 x i64> %v3, ptr %t3, align 16, !nontemporal !0
  %following = add i64 %i, 64
  %more = icmp ult i64 %following, %whole
  br i1 %more, label %line, label %ordered
ordered:
  call void @llvm.x86.sse.sfence()  ; other threads see these stores before those of the pool that follow
  br label %rest
rest:
  %left = icmp ult i64 %whole, %bytes
  br i1 %left, label %byte, label %end
byte:
  %j = phi i64 [ %whole, %rest ], [ %after, %byte ]
  %f = getelementptr i8, ptr %from, i64 %j
  %t = getelementptr i8, ptr %to, i64 %j
  %b = load i8, ptr %f
  store i8 %b, ptr %t
  %after = add i64 %j, 1
  %again = icmp ult i64 %after, %bytes
  br i1 %again, label %byte, label %end
end:
  ret void
}

!0 = !{i32 1}
