"""Trains in PyTorch, watched from another terminal: taper attach pytorch"""
import json, os, socket, time, torch

run, epochs, steps_per_epoch, step = "runs/pytorch", 20, 100, 0
os.makedirs(run)  # a run that is there is an error, and stays as it is
log = open(f"{run}/events.jsonl", "w", buffering=1)  # each line is written at once

def tell(event, **fields):
    log.write(json.dumps({"time_ms": time.time_ns() // 1_000_000, "event": event, **fields}) + "\n")

tell("run_started", version=1, trainer="pytorch_run.py", epochs=epochs, steps_per_epoch=steps_per_epoch,
     total_steps=epochs * steps_per_epoch, host=socket.gethostname(), pid=os.getpid())
net = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
for epoch in range(1, epochs + 1):
    losses = []
    for _ in range(steps_per_epoch):
        x = torch.randn(64, 8)
        loss = torch.nn.functional.mse_loss(net(x), x.prod(dim=1, keepdim=True))
        optimizer.zero_grad(); loss.backward(); optimizer.step()
        step += 1; losses.append(loss.item())
        tell("steps_done", epoch=epoch, first_step=step, losses=[losses[-1]])
    tell("epoch_done", epoch=epoch, step=step, train_loss=sum(losses) / len(losses))
tell("run_ended", step=step, outcome="completed", message=f"{epochs} epochs")
